"""What runs a bundle's graphs: a protocol, and one module a backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanoseg.errors import EngineError, UsageError

if TYPE_CHECKING:
    from nanoseg.backends.engine import Engine
    from nanoseg.bundle import Bundle

BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda")


def open_engines(bundle: Bundle, backend: str = "auto") -> Mapping[str, Engine]:
    """The bundle's detect, embed and segment, and segment_mask where it has one, on `backend`, one of BACKENDS.

    auto takes a GPU where there is one. The frame is prepared on the host, so its graph is not loaded. Raises
    UsageError, DependencyError or EngineError.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend: wanted one of {', '.join(BACKENDS)}, got {backend}")
    from nanoseg.backends import ort

    cuda = backend != "onnxruntime" and ort.cuda_available()
    if backend == "onnxruntime-cuda" and not cuda:
        raise EngineError("onnxruntime-cuda: this ONNX Runtime has no CUDA provider; pip install onnxruntime-gpu")
    providers = [ort.CUDA, ort.CPU] if cuda else [ort.CPU]
    names = ("detect", "embed", "segment", "segment_mask")
    graphs = {name: bundle.graphs[name] for name in names if name in bundle.graphs}
    engines = {name: ort.OrtEngine(graph.path, providers=providers) for name, graph in graphs.items()}
    # ONNX Runtime falls back to the CPU by itself where the provider finds no GPU.
    if backend == "onnxruntime-cuda" and any(engine.provider != ort.CUDA for engine in engines.values()):
        raise EngineError("onnxruntime-cuda: ONNX Runtime found no GPU it can use; backend onnxruntime needs none")
    return engines
