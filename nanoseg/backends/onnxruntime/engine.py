"""ONNX Runtime: the CPU everywhere, CUDA where onnxruntime-gpu is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.backends.engine import TensorSpec, check_feeds
from nanoseg.errors import EngineError, needs, one_line

with needs("onnxruntime", "cpu"):
    import onnxruntime

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DTYPES = {"float": "float32", "double": "float64"}  # ONNX Runtime's names that are not numpy's


class OrtEngine:
    """One ONNX file in one session; calls may come from several threads."""

    def __init__(
        self,
        source: str | Path | bytes,
        threads: int | None = None,
        providers: Sequence[Any] | None = None,
        *,
        name: str | None = None,
        as_stored: bool = False,
    ) -> None:
        """Load a file, or a file's content, which wants a `name` for messages.

        `threads` are those of one operator, by default one a CPU that this process may use; `providers` are ONNX
        Runtime's, best first, each a name or a name with options, by default the CPU. With `as_stored` Q/DQ nodes run
        as they stand, as TensorRT means them; else they become integer operators, whose sums saturate on CPUs without
        VNNI.
        Raises EngineError for a file that is not there or cannot run here.
        """
        self.name = name or ("network" if isinstance(source, bytes) else Path(source).name)
        threads = threads or available_cpus()
        wanted = list(providers or [CPU])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A plan a shape doubles the mask decoder's memory, whose prompts change in number, and saves no time.
        options.enable_mem_pattern = False
        # Each session has threads of its own: those of the one that just ran would spin in the way of the next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if as_stored:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.log_severity_level = 3  # what goes wrong is raised, so warnings are noise on stderr
        content = source if isinstance(source, bytes) else str(source)
        try:
            # Its own falling back to another provider prints on stdout.
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=wanted, enable_fallback=0)
        except Exception as error:
            what = "its content" if isinstance(source, bytes) else source
            raise EngineError(f"{self.name}: ONNX Runtime cannot load {what}: {one_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        self.device = f"CPU, {threads} thread{'s' * (threads > 1)}"
        self.inputs: Mapping[str, TensorSpec] = {each.name: _spec(each) for each in self._session.get_inputs()}
        self.outputs: Mapping[str, TensorSpec] = {each.name: _spec(each) for each in self._session.get_outputs()}
        self._output_names = list(self.outputs)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name, in new arrays; raises EngineError for feeds that do not fit and when it fails."""
        check_feeds(self.name, self.inputs, feeds)
        if self._session is None:
            raise EngineError(f"{self.name}: it was closed; load the bundle again")
        try:
            values = self._session.run(self._output_names, feeds)
        except Exception as error:
            raise EngineError(f"{self.name}: ONNX Runtime failed: {one_line(error)}") from error
        return dict(zip(self._output_names, values, strict=True))

    def close(self) -> None:
        """Free the session."""
        self._session = None


def available_cpus() -> int:
    """CPUs that this process may run on: fewer than the machine's under taskset or in a cpuset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cuda_available() -> bool:
    """Whether the installed ONNX Runtime has the CUDA provider; it may still find no GPU."""
    return CUDA in onnxruntime.get_available_providers()


def _spec(tensor: Any) -> TensorSpec:
    # "tensor(float)" -> float32; a side is a number, a name or None.
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else None for side in tensor.shape)
    return TensorSpec(np.dtype(_DTYPES.get(kind, kind)), shape)
