"""Run ONNX models with ONNX Runtime on one thread of a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from nanoseg.utils.versions import version_tuple


def skip_unless_float16_is_exact(dtype: type) -> None:
    """Skip a float16 test on ONNX Runtime 1.23, the last for Python 3.10: its QuantizeLinear is off by a step."""
    if dtype is np.float16 and version_tuple(onnxruntime.__version__) < (1, 24):
        pytest.skip(f"QuantizeLinear of ONNX Runtime {onnxruntime.__version__} is inexact in float16")


def run(model: onnx.ModelProto | Path, **feeds: object) -> dict[str, np.ndarray]:
    """Return the outputs by name, with Q/DQ nodes executed as they stand."""
    return _run(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, feeds)


def run_bytes(content: bytes, **feeds: object) -> dict[str, np.ndarray]:
    """Return the outputs of a file's content by name."""
    return run(onnx.load_model_from_string(content), **feeds)


def run_unfused(model: onnx.ModelProto | Path, **feeds: object) -> dict[str, np.ndarray]:
    """Return the outputs by name with nothing fused, so that equal nodes give equal bits."""
    return _run(model, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, feeds)


def _run(model: onnx.ModelProto | Path, level: object, feeds: dict[str, object]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {k: np.asarray(v) for k, v in feeds.items()}), strict=True))
