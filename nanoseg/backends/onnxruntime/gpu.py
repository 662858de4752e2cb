"""ONNX Runtime on a GPU: inputs and outputs bound to where they lie, so that an embedding never leaves the device."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.backends.engine import check_feeds
from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
from nanoseg.backends.onnxruntime.session import CPU, CUDA
from nanoseg.backends.pipeline import EmbeddingHandle
from nanoseg.errors import EngineError, needs, one_line
from nanoseg.processing.preprocess import Prepared

with needs("onnxruntime", "cpu"):
    import onnxruntime

TENSORRT = "TensorrtExecutionProvider"
_WHY_LENGTH = 300  # characters of what ONNX Runtime prints of missing libraries
_DEVICE = "cuda"  # as ONNX Runtime calls the memory of either provider

_DID_NOT_START = {
    CUDA: "found no GPU it can use; backend onnxruntime needs none",
    TENSORRT: "cannot start TensorRT here; backend onnxruntime-cuda needs none, and tensorrt runs engines without it",
}
_PROVIDERS = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}


class OnDevice:
    """What a graph gave, where it gave it: good for as long as anything holds it, beyond the engine's close()."""

    def __init__(self, value: Any, dtype: np.dtype, session: Any) -> None:
        self.value, self._session = value, session  # whose memory it is
        self.dtype, self.shape = dtype, tuple(value.shape())

    def array(self) -> np.ndarray:
        """A copy on the host."""
        return np.asarray(self.value.numpy())


class OrtGpuEngine(OrtEngine):
    """One ONNX file in one session on a GPU; calls may come from several threads, as each has a binding of its own.

    What is fed from the host is copied before the graph runs, and what it gives is waited for.
    """

    def __init__(
        self,
        source: str | Path | bytes,
        backend: str,
        options: Mapping[str, str] | None = None,
        *,
        name: str | None = None,
        as_stored: bool = False,
    ) -> None:
        """`backend` is onnxruntime-cuda or onnxruntime-tensorrt, with its provider's `options`; the rest: OrtEngine.

        Raises EngineError for a file that cannot be loaded, and where there is no such provider or no GPU.
        """
        provider = _PROVIDERS[backend]
        if provider not in onnxruntime.get_available_providers():
            called = provider.removesuffix("ExecutionProvider")
            raise EngineError(
                f"{backend}: this ONNX Runtime has no {called} provider; pip install onnxruntime-gpu has one"
            )
        missing = _load_libraries()
        rest = [CPU] if provider == CUDA else [CUDA, CPU]
        wanted = [(provider, dict(options or {})), *rest]
        super().__init__(source, providers=wanted, name=name, as_stored=as_stored)
        if self.provider != provider:  # ONNX Runtime goes on without a provider that does not start
            self.close()
            why = f"; it says: {missing}" if missing else ""
            raise EngineError(f"{backend}: ONNX Runtime {_DID_NOT_START[provider]}{why}")
        self.device = "CUDA" if provider == CUDA else "TensorRT in ONNX Runtime"

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """All outputs by name, in new arrays; `feeds` are arrays, or OnDevice."""
        values, _ = self._run(feeds, "cpu")
        return {name: value.numpy() for name, value in zip(self._output_names, values, strict=True)}

    def keep(self, feeds: Mapping[str, Any]) -> OnDevice:
        """The first output, left on the GPU in memory of its own."""
        values, session = self._run(feeds, _DEVICE)
        return OnDevice(values[0], self.outputs[self._output_names[0]].dtype, session)

    def _run(self, feeds: Mapping[str, Any], to: str) -> tuple[list[Any], Any]:
        check_feeds(self.name, self.inputs, feeds)
        session = self._open()
        try:
            binding = session.io_binding()
            for name, each in feeds.items():
                if isinstance(each, OnDevice):
                    binding.bind_ortvalue_input(name, each.value)
                else:
                    binding.bind_cpu_input(name, each)
            for name in self._output_names:
                binding.bind_output(name, to)
            binding.synchronize_inputs()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return binding.get_outputs(), session
        except Exception as error:
            raise EngineError(f"{self.name}: ONNX Runtime failed: {one_line(error)}") from error


@cache
def _load_libraries() -> str:
    """Load CUDA and cuDNN from where pip puts them, which ONNX Runtime does not look at unasked; what it says of it."""
    load, said = getattr(onnxruntime, "preload_dlls", None), io.StringIO()
    if load is not None:  # since 1.21
        with redirect_stdout(said):
            load()
    return " ".join(said.getvalue().split())[:_WHY_LENGTH]


class OrtGpuPipeline(OrtPipeline):
    """OrtPipeline over engines on a GPU: the embedding stays there, for its own frame and for prompts to come."""

    def _embed(self, prepared: Prepared) -> EmbeddingHandle:
        embed: Any = self.engines["embed"]
        kept: OnDevice = embed.keep({"image": prepared.image})
        return kept

    def _fed(self, embedded: EmbeddingHandle) -> Any:
        return embedded if isinstance(embedded, OnDevice) else embedded.array()
