"""A deployment graph in its own precision -> the same in float32, for CPUs: one bundle serves laptop and Jetson."""

from __future__ import annotations

from pathlib import Path

from nanoseg.graphs.reading import read_model
from nanoseg.graphs.rounded import rounded
from nanoseg.graphs.strip import strip
from nanoseg.graphs.widen import widen, widen_inputs


def for_cpu(path: Path) -> bytes:
    """The graph of a file with float32 inputs, outputs, tensors and weights and without Q/DQ, as a file's content.

    It answers as the file does, but for the rounding of numbers between the layers. The same file gives the same
    bytes. Raises BundleError for a file that is no network.
    """
    model = read_model(path)
    widen(model)
    strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def as_on_a_gpu(path: Path) -> bytes:
    """The graph with float32 inputs and every number rounded as the file has it, float16 or INT8.

    For measuring on a CPU what the file's precision costs; OrtEngine runs it with `as_stored`.
    """
    model = rounded(read_model(path))
    widen_inputs(model)
    return bytes(model.SerializeToString(deterministic=True))
