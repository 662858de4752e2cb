"""Convert deployment graphs to float32 for CPUs, so that one bundle serves laptop and Jetson."""

from __future__ import annotations

from pathlib import Path

import onnx

from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.fp16.to_fp32 import inputs_to_fp32, to_fp32
from nanoseg.onnx_graphs.int8.strip_qdq import strip_qdq
from nanoseg.onnx_graphs.model.load import read_model


def float32_graph(path: Path) -> bytes:
    """Return a graph in float32 without Q/DQ, as the content of an ONNX file.

    Its outputs are those of the file but for the rounding between layers. The same file gives the same bytes.

    Raises:
        BundleError: the file is no ONNX model.
    """
    return bytes(float32_model(read_model(path)).SerializeToString(deterministic=True))


def emulated_graph(path: Path) -> bytes:
    """Return a graph with float32 inputs that rounds every tensor as the file's precision does, float16 or INT8.

    It measures on a CPU what the precision costs; OrtEngine runs it with `as_stored`. The return value is the content
    of an ONNX file.

    Raises:
        BundleError: the file is no ONNX model.
    """
    return bytes(emulated_model(read_model(path)).SerializeToString(deterministic=True))


def float32_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network as `float32_graph` converts it, changed in place."""
    to_fp32(model)
    strip_qdq(model)
    return model


def emulated_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network as `emulated_graph` converts it."""
    model = emulate_fp16(model)
    inputs_to_fp32(model)
    return model
