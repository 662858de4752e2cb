"""ONNX Runtime on networks in memory, its errors told as ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from nanoseg.errors import BundleError, needs
from nanoseg.graphs.reading import first_line

# From this size on, getting ready for speed takes longer than a few runs save.
BASIC = "ORT_ENABLE_BASIC"
FULL = "ORT_ENABLE_ALL"


class Session:
    """A network that ONNX Runtime runs on the CPU, Q/DQ as they stand, as TensorRT means them."""

    def __init__(self, model: onnx.ModelProto, name: str, level: str = FULL) -> None:
        """`name` is what errors call it. Raises BundleError where it does not load, DependencyError without library."""
        with needs("onnxruntime", "cpu"):
            import onnxruntime

        self._name = name
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it says of others' networks is no news, and errors are raised
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        # Its fused integer kernels saturate on a CPU without VNNI.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise BundleError(f"{name}: ONNX Runtime does not run it: {first_line(error)}") from error

    def __call__(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """These outputs; raises BundleError where the network fails."""
        try:
            values = self._session.run(list(outputs), dict(feeds))
        except Exception as error:  # as above
            raise BundleError(f"{self._name}: ONNX Runtime does not run it: {first_line(error)}") from error
        return dict(zip(outputs, values, strict=True))
