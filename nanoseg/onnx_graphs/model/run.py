"""Run networks in memory or in a file with ONNX Runtime on the CPU; its errors become BundleError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from nanoseg.errors import BundleError

if TYPE_CHECKING:
    from nanoseg.backends.onnxruntime.session import Optimization

# ONNX Runtime's optimization levels. For a few runs of a large network the full level costs more than it saves.
BASIC: Optimization = "ORT_ENABLE_BASIC"
FULL: Optimization = "ORT_ENABLE_ALL"

# A dynamic dimension is None, or the name that the file gives it.
Shape = Sequence[int | str | None]


class Session:
    """A network on the CPU, with its Q/DQ nodes executed as they stand, as TensorRT does.

    Attributes:
        inputs: shapes by name.
        outputs: shapes by name.
    """

    def __init__(
        self, network: onnx.ModelProto | Path, name: str, level: Optimization = FULL, *, free_early: bool = False
    ) -> None:
        """Load a network.

        Args:
            network: a model, or the path of a file.
            name: what messages call it.
            level: an optimization level, BASIC or FULL.
            free_early: run the nodes in the file's order, so that a tensor which is read at once is freed at once.

        Raises:
            BundleError: ONNX Runtime cannot load it.
            DependencyError: onnxruntime is not installed.
        """
        # Here, so that graphs can be composed without ONNX Runtime.
        from nanoseg.backends.onnxruntime.session import open_session, run_session

        self._name, self._run = name, run_session
        self._session: Any = open_session(
            network if isinstance(network, Path) else network.SerializeToString(),
            name=name,
            optimization=level,
            as_stored=True,  # the fused integer kernels saturate on a CPU without VNNI
            free_early=free_early,
            log_severity=4,  # errors are raised, and warnings about other people's networks are noise
            error=BundleError,
        )
        self.inputs: dict[str, Shape] = {value.name: value.shape for value in self._session.get_inputs()}
        self.outputs: dict[str, Shape] = {value.name: value.shape for value in self._session.get_outputs()}

    def __call__(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return these outputs by name; raises BundleError where the network fails."""
        return self._run(self._session, outputs, feeds, name=self._name, error=BundleError)


def run_model(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], name: str = "network") -> dict[str, np.ndarray]:
    """Return all outputs of a single run by name; raises BundleError, naming `name`, where it does not run."""
    session = Session(model, name)
    return session(list(session.outputs), feeds)


def nearly_equal(wanted: np.ndarray, got: np.ndarray, rtol: float, atol: float) -> bool:
    """Return whether outputs have one shape and are as close as np.allclose wants; False where one is not finite."""
    if wanted.shape != got.shape or not (np.isfinite(wanted).all() and np.isfinite(got).all()):
        return False
    with np.errstate(over="ignore"):  # the difference of numbers near the type's largest
        return np.allclose(wanted, got, rtol=rtol, atol=atol)
