"""A deployment graph in its own precision -> the same in float32, for CPUs: one bundle serves laptop and Jetson."""

from __future__ import annotations

from pathlib import Path

from nanoseg.onnx_graphs.fp16.emulate import rounded
from nanoseg.onnx_graphs.fp16.to_fp32 import inputs_to_fp32, to_fp32
from nanoseg.onnx_graphs.int8.strip_qdq import strip
from nanoseg.onnx_graphs.model.load import read_model


def for_cpu(path: Path) -> bytes:
    """The graph of a file with float32 inputs, outputs, tensors and weights and without Q/DQ, as a file's content.

    It answers as the file does, but for the rounding of numbers between the layers. The same file gives the same
    bytes. Raises BundleError for a file that is no network.
    """
    model = read_model(path)
    to_fp32(model)
    strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def as_on_a_gpu(path: Path) -> bytes:
    """The graph with float32 inputs and every number rounded as the file has it, float16 or INT8.

    For measuring on a CPU what the file's precision costs; OrtEngine runs it with `as_stored`.
    """
    model = rounded(read_model(path))
    inputs_to_fp32(model)
    return bytes(model.SerializeToString(deterministic=True))
