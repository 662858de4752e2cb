"""ONNX Runtime on a GPU: inputs and outputs are bound with IOBinding, so that an embedding never leaves the device."""

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
from nanoseg.errors import EngineError, needs, one_line
from nanoseg.processing.embedding import EmbeddingHandle, on_host

with needs("onnxruntime", "cpu"):
    import onnxruntime

TENSORRT = "TensorrtExecutionProvider"
_MAX_REASON = 300  # characters of what ONNX Runtime prints about missing libraries
_DEVICE = "cuda"  # as ONNX Runtime calls the memory of either provider

_DID_NOT_START = {
    CUDA: "found no GPU it can use; backend onnxruntime needs none",
    TENSORRT: "cannot start TensorRT here; backend onnxruntime-cuda needs none, and tensorrt runs engines without it",
}
_PROVIDERS = {"onnxruntime-cuda": CUDA, "onnxruntime-tensorrt": TENSORRT}


class DeviceOutput:
    """An output in the GPU's memory; valid as long as anything refers to it, even after the engine's close().

    It can be fed to another engine in place of an array.
    """

    def __init__(self, value: Any, dtype: np.dtype, session: Any) -> None:
        self.value, self._session = value, session  # the session owns the memory
        self.dtype, self.shape = dtype, tuple(value.shape())

    def array(self) -> np.ndarray:
        """Return a copy on the host."""
        return np.asarray(self.value.numpy())


class OrtGpuEngine(OrtEngine):
    """One ONNX file in one session on a GPU; calls may come from several threads, as each call has its own IOBinding.

    Feeds of the host are uploaded before the graph runs, and its outputs are waited for.
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
        """Load a network.

        Args:
            source: As OrtEngine takes it.
            backend: onnxruntime-cuda or onnxruntime-tensorrt.
            options: Options of that backend's provider.
            name: As OrtEngine takes it.
            as_stored: As OrtEngine takes it.

        Raises:
            EngineError: For a file that cannot be loaded, and where there is no such provider or no GPU.
        """
        provider = _PROVIDERS[backend]
        if provider not in onnxruntime.get_available_providers():
            short = provider.removesuffix("ExecutionProvider")
            raise EngineError(
                f"{backend}: this ONNX Runtime has no {short} provider; pip install onnxruntime-gpu has one"
            )
        missing = _load_libraries()
        fallbacks = [CPU] if provider == CUDA else [CUDA, CPU]
        providers = [(provider, dict(options or {})), *fallbacks]
        super().__init__(source, providers=providers, name=name, as_stored=as_stored)
        if self.provider != provider:  # ONNX Runtime goes on without a provider that does not start
            self.close()
            reason = f"; it says: {missing}" if missing else ""
            raise EngineError(f"{backend}: ONNX Runtime {_DID_NOT_START[provider]}{reason}")
        self.device = "CUDA" if provider == CUDA else "TensorRT in ONNX Runtime"

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return all outputs by name, in new arrays; `feeds` are arrays, or DeviceOutputs."""
        values, _ = self._run(feeds, "cpu")
        return {name: value.numpy() for name, value in zip(self._output_names, values, strict=True)}

    def run_on_device(self, feeds: Mapping[str, Any]) -> DeviceOutput:
        """Return the first output, left in new memory on the GPU."""
        values, session = self._run(feeds, _DEVICE)
        return DeviceOutput(values[0], self.outputs[self._output_names[0]].dtype, session)

    def _run(self, feeds: Mapping[str, Any], device: str) -> tuple[list[Any], Any]:
        check_feeds(self.name, self.inputs, feeds)
        session = self._open()
        try:
            binding = session.io_binding()
            for name, each in feeds.items():
                if isinstance(each, DeviceOutput):
                    binding.bind_ortvalue_input(name, each.value)
                else:
                    binding.bind_cpu_input(name, each)
            for name in self._output_names:
                binding.bind_output(name, device)
            binding.synchronize_inputs()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return binding.get_outputs(), session
        except Exception as error:
            raise EngineError(f"{self.name}: ONNX Runtime failed: {one_line(error)}") from error


@cache
def _load_libraries() -> str:
    """Load CUDA and cuDNN from pip's packages, which ONNX Runtime does not search, and return what it prints."""
    load, printed = getattr(onnxruntime, "preload_dlls", None), io.StringIO()
    if load is not None:  # since 1.21
        with redirect_stdout(printed):
            load()
    return " ".join(printed.getvalue().split())[:_MAX_REASON]


class OrtGpuPipeline(OrtPipeline):
    """The pipeline on ONNX Runtime's GPU providers: embeddings stay on the GPU."""

    def _embed(self, image: np.ndarray) -> np.ndarray | EmbeddingHandle:
        embed: Any = self.engines["embed"]
        output: DeviceOutput = embed.run_on_device({"image": image})
        return output

    def _decoder_input(self, embedding: np.ndarray | EmbeddingHandle) -> Any:
        return embedding if isinstance(embedding, DeviceOutput) else on_host(embedding)
