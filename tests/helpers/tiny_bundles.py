"""Bundles of tiny networks."""

from __future__ import annotations

from pathlib import Path

import onnx

from nanoseg.bundle import Bundle
from nanoseg.bundle.make import BundleOptions, make_bundle
from nanoseg.onnx_graphs.deploy.float32 import float32_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import decoder, encoder

# Scores of image_u8's pictures lie so near to it that rounding takes some below.
CONFIDENCE = 0.303
LABELS = ("bolt", "nut", "gear")


def reduced_and_float(folder: Path) -> tuple[Bundle, Bundle]:
    """One detector and encoder twice: INT8 with the rest in float16 and float16, and all in float32."""
    (folder / "labels.txt").write_text("\n".join(LABELS))
    detector, eye, mouth = quantized_detector(folder / "int8.onnx", 19), folder / "eye.onnx", folder / "mouth.onnx"
    (folder / "float.onnx").write_bytes(float32_graph(detector))
    model = onnx.load(detector)
    onnx.save(to_fp16(model, box_decode_nodes(model.graph.node)), detector)
    onnx.save(to_fp16(onnx.load(encoder(eye))), folder / "half.onnx")
    decoder(mouth)

    def make(name: str, detector: Path, eye: Path) -> Bundle:
        options = BundleOptions(
            detector, eye, mouth, name, labels=folder / "labels.txt", rescale_px=60, confidence=CONFIDENCE
        )
        return make_bundle(options, folder / name)

    return make("reduced", detector, folder / "half.onnx"), make("floats", folder / "float.onnx", eye)
