"""Three networks in, the four deployment graphs of a bundle out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import onnx

from nanoseg.bundle import Precision
from nanoseg.errors import BundleError
from nanoseg.geometry import usual_rescale_px
from nanoseg.graphs.core import DECODER, DETECTOR, ENCODER, NO_MASK, Core, load_core
from nanoseg.graphs.detect import detect_graph
from nanoseg.graphs.prepare import prepare_graph
from nanoseg.graphs.segment import embed_graph, segment_graph

# TensorRT implements none of these, or not where shapes depend on data.
NOT_IN_TENSORRT = frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "OneHot", "Scan", "Unique"})


@dataclass(frozen=True, eq=False)
class Networks:
    """The checked networks of one bundle."""

    detector: Core
    encoder: Core
    decoder: Core

    @classmethod
    def load(cls, detector: str | Path, encoder: str | Path, decoder: str | Path) -> Networks:
        """Read and check all three, and that encoder and decoder fit; raises BundleError."""
        networks = cls(
            load_core(detector, DETECTOR), load_core(encoder, ENCODER), load_core(decoder, DECODER, fixed=NO_MASK)
        )
        wants, got = networks.decoder.sides["g"], networks.encoder.sides["g"]
        if wants != got:
            raise BundleError(
                f"{networks.decoder.path}: 'image_embeddings' wants (1, 256, {wants}, {wants}), "
                f"but {networks.encoder.path} gives (1, 256, {got}, {got}); export both for one image size"
            )
        return networks

    def labels(self, path: str | Path | None) -> list[str]:
        """Class names: lines of a text file, or what the detector's exporter left in its metadata; checked."""
        classes = self.detector.sides["C"]
        if path is not None:
            try:
                names = Path(path).read_text(encoding="utf-8").split("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise BundleError(f"{path}: cannot be read as text: {error}") from error
            names = [name.strip() for name in names if name.strip()]
        else:
            path = self.detector.path
            try:
                names = json.loads(self.detector.metadata.get("labels", "[]"))
            except ValueError:
                names = []
            if not names or not isinstance(names, list):
                raise BundleError(f"{path}: holds no labels; give them in a file, one a line: --labels FILE")
        if len(names) != classes:
            raise BundleError(f"{path}: wanted {classes} labels, one a class of the detector, got {len(names)}")
        return [str(name) for name in names]

    def rescale_px(self, wanted: int | None) -> int:
        """The frame's longer side in the detector's input: `wanted`, or what is usual for its size."""
        side = self.detector.sides["S"]
        return usual_rescale_px(side) if wanted is None else wanted

    def graphs(self, rescale_px: int, max_detections: int, all_masks: bool) -> dict[str, onnx.ModelProto]:
        """prepare, detect, embed and segment; raises BundleError for numbers out of range."""
        return {
            "prepare": prepare_graph(self.detector.sides["S"], rescale_px, self.encoder.sides["E"]),
            "detect": detect_graph(self.detector, max_detections),
            "embed": embed_graph(self.encoder),
            "segment": segment_graph(self.decoder, all_masks),
        }


def precision_of(model: onnx.ModelProto) -> Precision:
    """What most of a graph computes in: int8 with Q/DQ, fp16 where most weights are float16, else fp32."""
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return "int8"
    half, single = (
        sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == kind)
        for kind in (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    )
    return "fp16" if half > single else "fp32"


def not_in_tensorrt(model: onnx.ModelProto) -> list[str]:
    """Operators of a graph that no TensorRT builds; ONNX Runtime runs them all the same."""
    return sorted({node.op_type for node in model.graph.node} & NOT_IN_TENSORRT)
