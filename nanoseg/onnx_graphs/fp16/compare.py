"""Compare a network's outputs in float32 and float16, and the masks that a decoder produces from them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

import numpy as np
import onnx

from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.prompt_batches import decode
from nanoseg.errors import BundleError
from nanoseg.evaluation.miou import mask_iou
from nanoseg.evaluation.scenes import NoMasksError, Scene
from nanoseg.onnx_graphs.deploy.agreement import match_rows
from nanoseg.onnx_graphs.deploy.segment import segment_graph
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.fp16.inputs import check_embeddings
from nanoseg.onnx_graphs.fp16.report import MaskReport, OutputReport
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from nanoseg.processing.prompts import Prompts

BEST_ANCHORS = 300  # of a detector, by score: the boxes of the others are never seen
_ROWS = ("boxes", "scores", "class_ids")
Outputs = Mapping[str, np.ndarray]


class PrecisionPair:
    """A network in float32 and in float16, each rounded as its file says; a context manager."""

    def __init__(self, fp32: onnx.ModelProto, fp16: onnx.ModelProto, name: str) -> None:
        """Load both; `name` is for messages. Raises EngineError where one does not load."""
        # The float16 file itself must load, too, although its emulation is what runs.
        OrtEngine(fp16.SerializeToString(), name=name, as_stored=True).close()
        self._name = name
        self._engines = [
            OrtEngine(model.SerializeToString(), name=name, as_stored=True) for model in (fp32, emulate_fp16(fp16))
        ]

    def __call__(self, feeds: Outputs) -> tuple[Outputs, Outputs]:
        """Return the outputs of both; raises BundleError where float16 overflows, EngineError where one fails."""
        fp32, fp16 = (engine(feeds) for engine in self._engines)
        for name, value in fp16.items():
            if not np.isfinite(value).all():
                raise BundleError(
                    f"{self._name}: '{name}' is not finite in float16; measure on more images: --count, --images"
                )
        return fp32, fp16

    def __enter__(self) -> PrecisionPair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.close()


class OutputComparison:
    """Similarity of the outputs, image after image."""

    def __init__(self, *, of_detector: bool) -> None:
        """Compare all of an output, or of a detector's the best anchors."""
        self._of_detector = of_detector
        self._found: dict[str, list[tuple[float, float]]] = {}

    def add(self, fp32: Outputs, fp16: Outputs) -> None:
        """Add the outputs for one image, or for some prompts of one."""
        if self._of_detector:
            scores = fp32["scores"][0]
            if "class_ids" in fp32:  # an end-to-end detector, whose rows are in the order of their scores
                rows = [[each[name][0] for name in _ROWS] for each in (fp32, fp16)]
                matched = match_rows((rows[0][0], rows[0][1], rows[0][2]), (rows[1][0], rows[1][1], rows[1][2]))
                fp16 = {**fp16, **{name: value[None] for name, value in zip(_ROWS, matched, strict=True)}}
            best = scores if scores.ndim == 1 else scores.max(-1)
            some = np.argsort(-best, kind="stable")[:BEST_ANCHORS]
            fp32, fp16 = ({name: value[:, some] for name, value in each.items()} for each in (fp32, fp16))
        for name, value in fp32.items():
            one, other = (np.asarray(each, np.float64) for each in (value, fp16[name]))
            difference = float(np.abs(one - other).max(initial=0))
            self._found.setdefault(name, []).append((cosine_similarity(one, other), difference))

    def report(self) -> list[OutputReport]:
        """Return one entry for each output."""
        found = {name: np.array(values) for name, values in self._found.items()}
        return [
            OutputReport(name, float(v[:, 0].mean()), float(v[:, 0].min()), float(v[:, 1].max()))
            for name, v in found.items()
        ]


class MaskComparison:
    """IoU of the masks that float32 and float16 give for the same box prompts, with each other and the ground truth."""

    def __init__(self) -> None:
        self._ious: list[float] = []  # of float32 with float16
        self._true_ious: list[tuple[float, float]] = []  # with the ground truth: float32, float16
        self._true_boxes = 0

    def add(self, scene: Scene, first: int, fp32: Masks, fp16: Masks) -> None:
        """Add the masks of some boxes of `boxes_of(scene)`, the first of which has the index `first`."""
        pair = (fp32.full(), fp16.full())
        self._true_boxes += len(scene.xyxy[first : first + len(fp32)])
        self._ious += [mask_iou(one, other, empty=1.0) for one, other in zip(*pair, strict=True)]
        with suppress(NoMasksError):
            for true, one, other in zip(scene.masks()[first:], *pair, strict=False):
                self._true_ious.append((mask_iou(true, one), mask_iou(true, other)))

    def report(self) -> MaskReport:
        """Return the means over all prompts."""
        fp32, fp16 = np.array(self._true_ious).mean(0).tolist() if self._true_ious else (None, None)
        alike, worst = float(np.mean(self._ious)), float(np.min(self._ious))
        return MaskReport(len(self._ious), self._true_boxes > 0, alike, worst, fp32, fp16)


class EmbeddingDecoder:
    """A decoder that makes masks of an encoder's embeddings."""

    def __init__(self, encoder: SourceNetwork, decoder: SourceNetwork) -> None:
        """Load the decoder; raises BundleError where it takes other embeddings than the encoder produces."""
        check_embeddings(encoder, decoder)
        self._engine = OrtEngine(segment_graph(decoder).SerializeToString(), name=decoder.path.name)

    def __call__(self, embedding: np.ndarray, geometry: Geometry, boxes: np.ndarray) -> Masks:
        """Return the masks of boxes (n, 4), xyxy in pixels of the image."""
        logits, confidence = decode(self._engine, embedding, geometry.vector(), Prompts.from_boxes(boxes))
        return Masks.from_output(logits, confidence, geometry, boxes=boxes)


def cosine_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Return the cosine similarity of two float64 arrays as vectors; 1 where both are 0."""
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / norms if norms else float(not (one.any() or other.any()))
