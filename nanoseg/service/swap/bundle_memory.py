"""The memory that a bundle takes at least, before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.errors import EngineError
from nanoseg.service.board import available_mb
from nanoseg.service.board_watch import LOW_MEMORY_MB

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

_TO_FLOAT32 = {"fp32": 1, "fp16": 2, "int8": 4}  # weights on a CPU, by a graph's precision


def estimate_mb(bundle: Bundle, backend: str, engines: str | None) -> float:
    """Return the memory that a bundle takes at least, on this device, in MB.

    That is its weights as float32 on ONNX Runtime, and what its engines' records say on TensorRT.

    Args:
        bundle: an opened bundle.
        backend: as `nanoseg.load` takes it.
        engines: folder of the engine store, as `nanoseg.load` takes it.

    Raises:
        EngineError: the machine does not have so much, or the engine store cannot be read.
    """
    nbytes = _engines_bytes(bundle, engines) if backend in ("auto", "tensorrt") else 0
    if not nbytes:
        nbytes = sum(graph.bytes * _TO_FLOAT32[graph.precision] for graph in bundle.graphs.values())
    estimate, available = nbytes / 1e6, available_mb()
    if available is not None and estimate + LOW_MEMORY_MB > available:
        raise EngineError(
            f"{bundle.name}: it takes {estimate:.0f} MB or more, and {available:.0f} MB are available on this machine"
        )
    return estimate


def _engines_bytes(bundle: Bundle, engines: str | None) -> int:
    """Return what the engines of the bundle take, 0 where that is not known."""
    from nanoseg.backends.describe_engines import describe_engines
    from nanoseg.engines import EngineStore

    memory = describe_engines(bundle, EngineStore(None if engines is None else Path(engines)))["memory"]
    return max((each["gpu_bytes"] + each["pinned_bytes"] for each in memory if each["gpu_bytes"]), default=0)
