"""Sessions of ONNX Runtime: the one place that opens them and runs them, and turns its errors into nanoseg's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nanoseg.errors import EngineError, NanosegError, needs, one_line
from nanoseg.utils.names import utf8_path

with needs("onnxruntime", "cpu"):
    import onnxruntime

onnxruntime.disable_telemetry_events()  # for programs that import it before nanoseg; see nanoseg/__init__.py

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Optimization = Literal["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]


def open_session(
    source: Path | bytes,
    *,
    name: str,
    providers: Sequence[Any] = (CPU,),
    threads: int | None = None,
    optimization: Optimization = "ORT_ENABLE_ALL",
    as_stored: bool = False,
    free_early: bool = False,
    log_severity: int = 3,
    error: type[NanosegError] = EngineError,
) -> Any:
    """Open an `onnxruntime.InferenceSession`.

    Args:
        source: A file, or a file's content.
        name: The network's name in error messages.
        providers: ONNX Runtime's execution providers, best first; each is a name, or a name with its options.
        threads: Threads of one operator, for a session that runs beside others frame after frame; None for
            ONNX Runtime's default, which suits a session that runs alone.
        optimization: Level of graph optimization, a name of `onnxruntime.GraphOptimizationLevel`.
        as_stored: Run Q/DQ nodes as they stand, as TensorRT means them. Otherwise they become integer operators,
            whose sums saturate on CPUs without VNNI.
        free_early: Run nodes in the file's order, so that a tensor that is read at once is freed at once.
        log_severity: Least severity that ONNX Runtime prints on stderr: 3 for errors, 4 for fatal ones alone.
        error: Class of the error to raise.

    Raises:
        NanosegError: Of class `error`, where ONNX Runtime cannot load the network.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimization)
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A memory plan for each shape doubles the mask decoder's memory, whose prompts vary, and saves no time.
        options.enable_mem_pattern = False
        # Each session has threads of its own: those of the one that just ran would spin in the way of the next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_stored:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if free_early:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    try:
        with nullcontext(source) if isinstance(source, bytes) else utf8_path(source) as content:
            # Its own fallback to another provider prints on stdout.
            return onnxruntime.InferenceSession(content, options, providers=list(providers), enable_fallback=0)
    except Exception as cause:  # ONNX Runtime's errors share no public base
        origin = "its content" if isinstance(source, bytes) else source
        raise error(f"{name}: ONNX Runtime cannot load {origin}: {one_line(cause)}") from cause


def run_session(
    session: Any,
    outputs: Sequence[str],
    feeds: Mapping[str, np.ndarray],
    *,
    name: str,
    error: type[NanosegError] = EngineError,
) -> dict[str, np.ndarray]:
    """Return these outputs of a session by name, in new arrays; raises `error`, naming the network, where it fails."""
    try:
        values = session.run(list(outputs), feeds)
    except Exception as cause:  # as above
        raise error(f"{name}: ONNX Runtime failed: {one_line(cause)}") from cause
    return dict(zip(outputs, values, strict=True))


def available_cpus() -> int:
    """Return the number of CPUs this process may run on: under taskset or in a cpuset fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cuda_available() -> bool:
    """Return whether the installed ONNX Runtime has the CUDA provider; it may still find no GPU."""
    return CUDA in onnxruntime.get_available_providers()
