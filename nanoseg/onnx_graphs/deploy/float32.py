"""A deployment graph in its own precision -> the same in float32, for CPUs: one bundle serves laptop and Jetson."""

from __future__ import annotations

from pathlib import Path

from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.fp16.to_fp32 import inputs_to_fp32, to_fp32
from nanoseg.onnx_graphs.int8.strip_qdq import strip_qdq
from nanoseg.onnx_graphs.model.load import read_model


def float32_graph(path: Path) -> bytes:
    """The graph of a file with float32 inputs, outputs, tensors and weights and without Q/DQ, as a file's content.

    It answers as the file does, but for the rounding of numbers between the layers. The same file gives the same
    bytes. Raises BundleError for a file that is no network.
    """
    model = read_model(path)
    to_fp32(model)
    strip_qdq(model)
    return bytes(model.SerializeToString(deterministic=True))


def emulated_graph(path: Path) -> bytes:
    """The graph with float32 inputs and every number rounded as the file has it, float16 or INT8.

    For measuring on a CPU what the file's precision costs; OrtEngine runs it with `as_stored`.
    """
    model = emulate_fp16(read_model(path))
    inputs_to_fp32(model)
    return bytes(model.SerializeToString(deterministic=True))
