"""What runs a bundle's graphs: a protocol, and one module a backend."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from nanoseg.errors import EngineError, UsageError

if TYPE_CHECKING:
    from nanoseg.backends.engine import Engine
    from nanoseg.bundle import Bundle

BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda")


def check_backend(backend: str) -> None:
    """Raise UsageError unless `backend` is one of BACKENDS."""
    if backend not in BACKENDS:
        raise UsageError(f"backend: wanted one of {', '.join(BACKENDS)}, got {backend}")


def open_engines(bundle: Bundle, backend: str = "auto", *, rounded: bool = False) -> Mapping[str, Engine]:
    """The bundle's detect, embed and segment, and segment_mask where it has one, on `backend`, one of BACKENDS.

    auto takes a GPU where there is one. The frame is prepared on the host, so its graph is not loaded. All take and
    give float32, and compute in it; with `rounded`, which is slow, every number is rounded as TensorRT would, to see
    what that costs. Raises UsageError, DependencyError, BundleError or EngineError, and leaves no engine open then.
    """
    check_backend(backend)
    from nanoseg.backends import ort
    from nanoseg.backends.cpu_graphs import cpu_graph, rounded_graph

    cuda = backend != "onnxruntime" and ort.cuda_available()
    if backend == "onnxruntime-cuda" and not cuda:
        raise EngineError("onnxruntime-cuda: this ONNX Runtime has no CUDA provider; pip install onnxruntime-gpu")
    providers = [ort.CUDA, ort.CPU] if cuda else [ort.CPU]
    names = ("detect", "embed", "segment", "segment_mask")
    graphs = {name: bundle.graphs[name] for name in names if name in bundle.graphs}
    engines: dict[str, Engine] = {}
    with ExitStack() as stack:
        for name, graph in graphs.items():
            source = rounded_graph(graph) if rounded else cpu_graph(graph)
            engine = ort.OrtEngine(source, providers=providers, name=graph.file, as_stored=rounded)
            stack.callback(engine.close)
            # ONNX Runtime falls back to the CPU by itself where the provider finds no GPU.
            if backend == "onnxruntime-cuda" and engine.provider != ort.CUDA:
                raise EngineError(
                    "onnxruntime-cuda: ONNX Runtime found no GPU it can use; backend onnxruntime needs none"
                )
            engines[name] = engine
        stack.pop_all()  # they are the caller's now
    return engines
