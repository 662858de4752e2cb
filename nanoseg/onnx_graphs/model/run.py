"""Run networks in memory or in a file with ONNX Runtime on the CPU; its errors become BundleError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from nanoseg.errors import BundleError, first_line, needs

# ONNX Runtime's optimization levels. For a few runs of a large network the full level costs more than it saves.
BASIC = "ORT_ENABLE_BASIC"
FULL = "ORT_ENABLE_ALL"

# A dynamic dimension is None, or the name that the file gives it.
Shape = Sequence[int | str | None]


class Session:
    """A network on the CPU, with its Q/DQ nodes executed as they stand, as TensorRT does.

    Attributes:
        inputs: shapes by name.
        outputs: shapes by name.
    """

    def __init__(
        self, network: onnx.ModelProto | Path, name: str, level: str = FULL, *, frees_early: bool = False
    ) -> None:
        """Load a network.

        Args:
            network: a model, or the path of a file.
            name: what messages call it.
            level: an optimization level, BASIC or FULL.
            frees_early: run the nodes in the file's order, so that a tensor which is read at once is freed at once.

        Raises:
            BundleError: ONNX Runtime cannot load it.
            DependencyError: onnxruntime is not installed.
        """
        with needs("onnxruntime", "cpu"):
            import onnxruntime

        self._name = name
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised, and warnings about other people's networks are noise
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        # The fused integer kernels saturate on a CPU without VNNI.
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
        """Return these outputs by name; raises BundleError where the network fails."""
        try:
            values = self._session.run(list(outputs), dict(feeds))
        except Exception as error:  # as above
            raise BundleError(f"{self._name}: ONNX Runtime does not run it: {first_line(error)}") from error
        return dict(zip(outputs, values, strict=True))


def run_model(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], name: str = "network") -> dict[str, np.ndarray]:
    """Return all outputs of a single run by name; raises BundleError, naming `name`, where it does not run."""
    session = Session(model, name)
    return session(list(session.outputs), feeds)
