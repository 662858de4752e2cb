"""ONNX Runtime on networks in memory or in a file, its errors told as ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from nanoseg.errors import BundleError, needs
from nanoseg.onnx_graphs.model.load import first_line

# From this size on, getting ready for speed takes longer than a few runs save.
BASIC = "ORT_ENABLE_BASIC"
FULL = "ORT_ENABLE_ALL"

# A side that a run decides is None, or the name that the file gives it.
Shape = Sequence[int | str | None]


class Session:
    """A network that ONNX Runtime runs on the CPU, Q/DQ as they stand, as TensorRT means them."""

    def __init__(
        self, network: onnx.ModelProto | Path, name: str, level: str = FULL, *, frees_early: bool = False
    ) -> None:
        """`name` is what errors call it. Raises BundleError where it does not load, DependencyError without library.

        With `frees_early` nodes run in the order of the file, so that a tensor which is read at once is freed at once.
        """
        with needs("onnxruntime", "cpu"):
            import onnxruntime

        self._name = name
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it says of others' networks is no news, and errors are raised
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        # Its fused integer kernels saturate on a CPU without VNNI.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if frees_early:
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        source = str(network) if isinstance(network, Path) else network.SerializeToString()
        try:
            self._session: Any = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise BundleError(f"{name}: ONNX Runtime does not run it: {first_line(error)}") from error
        self.inputs: dict[str, Shape] = {value.name: value.shape for value in self._session.get_inputs()}
        self.outputs: dict[str, Shape] = {value.name: value.shape for value in self._session.get_outputs()}

    def __call__(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """These outputs; raises BundleError where the network fails."""
        try:
            values = self._session.run(list(outputs), dict(feeds))
        except Exception as error:  # as above
            raise BundleError(f"{self._name}: ONNX Runtime does not run it: {first_line(error)}") from error
        return dict(zip(outputs, values, strict=True))


def run_model(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], name: str = "network") -> dict[str, np.ndarray]:
    """All outputs of a single run, by name; raises BundleError, calling it `name`, where it does not run."""
    session = Session(model, name)
    return session(list(session.outputs), feeds)
