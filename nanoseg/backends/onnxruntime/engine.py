"""One network on ONNX Runtime's CPU provider, behind the engine protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.backends.engine import TensorSpec, check_feeds
from nanoseg.backends.onnxruntime.session import CPU, available_cpus, open_session, run_session
from nanoseg.errors import EngineError

_DTYPES = {"float": "float32", "double": "float64"}  # ONNX Runtime's names that are not numpy's


class OrtEngine:
    """One ONNX file in one session. Calls may come from several threads."""

    def __init__(
        self,
        source: str | Path | bytes,
        threads: int | None = None,
        providers: Sequence[Any] = (CPU,),
        *,
        name: str | None = None,
        as_stored: bool = False,
    ) -> None:
        """Load a network.

        Args:
            source: A file, or a file's content, which needs a `name`.
            threads: Threads of one operator, by default one for each CPU that this process may use.
            providers: ONNX Runtime's execution providers, best first, each a name or a name with options.
            name: The network's name in messages, by default the file's.
            as_stored: Run Q/DQ nodes as they stand, as TensorRT means them; see `open_session`.

        Raises:
            EngineError: For a file that is missing or cannot run here.
        """
        source = source if isinstance(source, bytes) else Path(source)
        self.name = name or ("network" if isinstance(source, bytes) else source.name)
        threads = threads or available_cpus()
        self._session: Any = open_session(
            source, name=self.name, providers=providers, threads=threads, as_stored=as_stored
        )
        self.provider: str = self._session.get_providers()[0]
        self.device = f"CPU, {threads} thread{'s' * (threads > 1)}"
        self.inputs: Mapping[str, TensorSpec] = {each.name: _spec(each) for each in self._session.get_inputs()}
        self.outputs: Mapping[str, TensorSpec] = {each.name: _spec(each) for each in self._session.get_outputs()}
        self._output_names = list(self.outputs)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return all outputs by name, in new arrays; raises EngineError for feeds that do not fit and when it fails."""
        check_feeds(self.name, self.inputs, feeds)
        return run_session(self._open(), self._output_names, feeds, name=self.name)

    def close(self) -> None:
        """Free the session. May be called twice."""
        self._session = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.device})"

    def _open(self) -> Any:
        session = self._session  # another thread may close it meanwhile
        if session is None:
            raise EngineError(f"{self.name}: it was closed; load the bundle again")
        return session


def _spec(tensor: Any) -> TensorSpec:
    # "tensor(float)" -> float32; a dimension is a number, a name or None.
    dtype = tensor.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(dim if isinstance(dim, int) else None for dim in tensor.shape)
    return TensorSpec(np.dtype(_DTYPES.get(dtype, dtype)), shape)
