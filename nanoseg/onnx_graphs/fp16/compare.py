"""How alike a network's answers are in float32 and in float16, and the masks that a decoder makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

import numpy as np
import onnx

from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.prompt_batches import decode
from nanoseg.commands.fp16.report import MaskReport, OutputReport
from nanoseg.errors import BundleError
from nanoseg.evaluation.miou import mask_iou
from nanoseg.evaluation.scenes import NoMasksError, Scene
from nanoseg.onnx_graphs.deploy.segment import segment_graph
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from nanoseg.processing.prompts import Prompts

BEST = 300  # anchors of a detector, by their score: of the others nobody sees boxes
GRID = 3  # boxes a side where nobody told what a picture shows
Answers = Mapping[str, np.ndarray]


class Pair:
    """A network in float32 and in float16, each rounded as its file has it; a context manager."""

    def __init__(self, single: onnx.ModelProto, half: onnx.ModelProto, name: str) -> None:
        """Raises EngineError where one does not load; the float16 file itself is tried, too."""
        OrtEngine(half.SerializeToString(), name=name, as_stored=True).close()
        self._name = name
        self._engines = [
            OrtEngine(model.SerializeToString(), name=name, as_stored=True) for model in (single, emulate_fp16(half))
        ]

    def __call__(self, feeds: Answers) -> tuple[Answers, Answers]:
        """What both give; raises BundleError where float16 overflows, EngineError where one does not run."""
        single, half = (engine(feeds) for engine in self._engines)
        for name, value in half.items():
            if not np.isfinite(value).all():
                raise BundleError(
                    f"{self._name}: '{name}' is not finite in float16; measure on more pictures: --count, --images"
                )
        return single, half

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.close()


class OutputComparison:
    """Collects the answers to picture after picture."""

    def __init__(self, whole: bool) -> None:
        """`whole` is whether all of an output counts; else the best anchors of a detector do."""
        self._whole = whole
        self._found: dict[str, list[tuple[float, float]]] = {}

    def add(self, single: Answers, half: Answers) -> None:
        """The answers to one picture."""
        some: np.ndarray | slice = slice(None)
        if not self._whole:
            some = np.argsort(-single["scores"][0].max(-1), kind="stable")[:BEST]
        for name, value in single.items():
            one, other = (np.asarray(each[0][some], np.float64) for each in (value, half[name]))
            self._found.setdefault(name, []).append((cosine(one, other), float(np.abs(one - other).max(initial=0))))

    def report(self) -> list[OutputReport]:
        """An entry an output."""
        found = {name: np.array(values) for name, values in self._found.items()}
        return [
            OutputReport(name, float(v[:, 0].mean()), float(v[:, 0].min()), float(v[:, 1].max()))
            for name, v in found.items()
        ]


class MaskComparison:
    """Collects the masks that a decoder makes of both embeddings, for box prompts."""

    def __init__(self, encoder: SourceNetwork, decoder: SourceNetwork) -> None:
        """Raises BundleError where the decoder reads other embeddings."""
        if (got := decoder.dims["g"]) != (gives := encoder.dims["g"]):
            raise BundleError(
                f"{decoder.path}: 'image_embeddings' wants (1, 256, {got}, {got}), "
                f"but {encoder.path} gives (1, 256, {gives}, {gives}); export both for one image size"
            )
        self._engine = OrtEngine(segment_graph(decoder).SerializeToString(), name=decoder.path.name)
        self._alike: list[float] = []
        self._true: list[tuple[float, float]] = []  # IoU with the truth, float32 and float16
        self._told = 0

    def add(self, scene: Scene, geometry: Geometry, single: np.ndarray, half: np.ndarray) -> None:
        """One picture's embeddings; it is prompted by its true boxes, or by a grid of boxes where none are known."""
        boxes = scene.xyxy if len(scene.xyxy) else grid_of_boxes(*geometry.frame_hw)
        self._told += len(scene.xyxy)
        prompts = Prompts.from_boxes(boxes)
        pair = []
        for embedding in (single, half):
            logits, confidence = decode(self._engine, embedding, geometry.vector(), prompts)
            pair.append(Masks(logits[:, 0], confidence[:, 0], geometry, boxes=boxes).full())
        for one, other in zip(*pair, strict=True):
            self._alike.append(mask_iou(one, other) if (one | other).any() else 1.0)
        with suppress(NoMasksError):
            for true, one, other in zip(scene.masks(), *pair, strict=False):
                self._true.append((mask_iou(true, one), mask_iou(true, other)))

    def report(self) -> MaskReport:
        """The means over all prompts."""
        single, half = np.array(self._true).mean(0).tolist() if self._true else (None, None)
        return MaskReport(len(self._alike), self._told > 0, float(np.mean(self._alike)), single, half)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two float64 arrays as vectors; 1 where both are 0."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / lengths if lengths else float(not (one.any() or other.any()))


def grid_of_boxes(height: int, width: int) -> np.ndarray:
    """(GRID squared, 4) float32 boxes that share a picture of this size among them."""
    top, left = np.mgrid[:GRID, :GRID].reshape(2, -1)
    corners = np.stack([left, top, left + 1, top + 1], 1) / GRID
    return np.asarray(corners * [width, height, width, height], np.float32)
