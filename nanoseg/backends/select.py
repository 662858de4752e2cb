"""What runs a bundle's graphs: a protocol, and one module a backend."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.engines import RUN_WITHOUT_ENGINES, EngineStore
from nanoseg.errors import DependencyError, EngineError, UsageError

if TYPE_CHECKING:
    from nanoseg.backends.engine import Engine
    from nanoseg.backends.pipeline import AnyPipeline
    from nanoseg.bundle import Bundle, Graph
    from nanoseg.processing.geometry import Resize

# onnxruntime-tensorrt builds engines of its own when it is first used, which takes minutes: so auto never takes it.
BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")


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
    return _open_best(bundle, backend, rounded)[1]


def _open_best(bundle: Bundle, backend: str, rounded: bool = False) -> tuple[str, Mapping[str, Engine]]:
    """open_engines(), and the backend that they are of."""
    check_backend(backend)
    if backend == "tensorrt":
        raise UsageError("open_engines: TensorRT's engines take no arrays; open_pipeline runs them")
    from nanoseg.backends.onnxruntime.session import cuda_available

    if backend != "auto":
        return backend, _open(bundle, backend, rounded)
    why = ""
    if cuda_available():
        try:
            return "onnxruntime-cuda", _open(bundle, "onnxruntime-cuda", rounded)
        except EngineError as error:  # no GPU after all, or one without room; what is wrong with a file is told below
            why = str(error)
    opened = _open(bundle, "onnxruntime", rounded)
    if why and _has_driver():
        _warn(bundle, "onnxruntime", f"not on its CUDA provider: {why}")
    return "onnxruntime", opened


def _has_driver() -> bool:
    from nanoseg.backends.device import find_gpu

    return find_gpu().has_driver


def _open(bundle: Bundle, backend: str, rounded: bool) -> Mapping[str, Engine]:
    names = ("detect", "embed", "segment", "segment_mask")
    graphs = {name: bundle.graphs[name] for name in names if name in bundle.graphs}
    engines: dict[str, Engine] = {}
    with ExitStack() as stack:
        for name, graph in graphs.items():
            engines[name] = _load(name, graph, backend, rounded)
            stack.callback(engines[name].close)
        stack.pop_all()  # they are the caller's now
    return engines


def _load(name: str, graph: Graph, backend: str, rounded: bool) -> Engine:
    from nanoseg.backends.onnxruntime import engine as ort
    from nanoseg.backends.onnxruntime.cpu_graphs import cpu_graph, rounded_graph

    source = rounded_graph(graph) if rounded else cpu_graph(graph)
    if backend == "onnxruntime":
        return ort.OrtEngine(source, name=graph.file, as_stored=rounded)
    from nanoseg.backends.onnxruntime import gpu as ort_gpu

    options = None
    if backend == "onnxruntime-tensorrt":
        from nanoseg.backends.onnxruntime.tensorrt_provider import provider_options

        options = provider_options(name, graph)
    return ort_gpu.OrtGpuEngine(source, backend, options, name=graph.file, as_stored=rounded)


def open_pipeline(
    bundle: Bundle, backend: str = "auto", *, resize: Resize = "cv2", engines: Path | None = None
) -> AnyPipeline:
    """What runs the bundle on `backend`, one of BACKENDS.

    auto takes TensorRT where the bundle has valid engines for this device, all of them, in the store, else ONNX
    Runtime. It warns, by the logger "nanoseg", where engines were built for this GPU and cannot be used, where the
    store has engines and an NVIDIA driver is here but no GPU starts, and where `engines` has none of the bundle. That
    is the store's folder, by default the usual one. Another `resize` than cv2 is ONNX Runtime's. Raises UsageError,
    DependencyError, BundleError or EngineError.
    """
    check_backend(backend)
    if backend == "auto" and resize == "cv2":
        return _open_best_pipeline(bundle, engines)
    if backend != "tensorrt":
        return _open_ort_pipeline(bundle, backend, resize)
    if resize != "cv2":
        raise UsageError(f"resize: backend tensorrt prepares frames on the GPU, as cv2 does; {resize} is onnxruntime's")
    from nanoseg.backends.tensorrt.pipeline.open import open_trt_pipeline

    return open_trt_pipeline(bundle, engines)


def _open_best_pipeline(bundle: Bundle, engines: Path | None) -> AnyPipeline:
    """TensorRT's, else ONNX Runtime's."""
    unused = ""
    if _may_be_built(bundle, engines):
        from nanoseg.backends.tensorrt.pipeline.open import NoEnginesError, open_trt_pipeline

        try:
            return open_trt_pipeline(bundle, engines)
        except NoEnginesError as error:
            unused = f"not on the engines that were built: {error.why}" if error.built else ""
        except EngineError as error:
            raise EngineError(f"{error}; {RUN_WITHOUT_ENGINES}") from error
    elif engines is not None:
        unused = f"as {EngineStore(engines).root}, the folder of engines that was given, has none of it"
    try:
        pipeline = _open_ort_pipeline(bundle, "auto", "cv2")
    except DependencyError as missing:
        from nanoseg.backends.tensorrt.pipeline.open import NoEnginesError, open_trt_pipeline

        try:
            return open_trt_pipeline(bundle, engines)  # for what it says: a Jetson may have nothing but its TensorRT
        except NoEnginesError as error:
            if not error.possible:
                raise missing from None
            raise DependencyError(f"{error.why}; to run without engines: {missing}") from missing
    if unused:
        _warn(bundle, pipeline.backend, unused)
    return pipeline


def _may_be_built(bundle: Bundle, engines: Path | None) -> bool:
    """Whether the store may have any engine of the bundle, for whatever device."""
    try:
        store = EngineStore(engines)
    except EngineError:  # this user has no home where one could be
        return False
    try:
        return bool(store.list_states(bundle, None))
    except EngineError:  # a folder that cannot be read may have some
        return True


def _warn(bundle: Bundle, backend: str, why: str) -> None:
    # Seen on stderr unless the program turns it off or sends it elsewhere.
    logging.getLogger("nanoseg").warning("%s: runs on %s, %s", bundle.name, backend, why)


def _open_ort_pipeline(bundle: Bundle, backend: str, resize: Resize) -> AnyPipeline:
    from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
    from nanoseg.processing.preprocess import resizer

    resizer(resize)  # may want Pillow: told before networks are loaded
    backend, opened = _open_best(bundle, backend)
    if backend == "onnxruntime":
        return OrtPipeline(bundle, opened, resize)
    from nanoseg.backends.onnxruntime.gpu import OrtGpuPipeline

    return OrtGpuPipeline(bundle, opened, resize, backend)
