"""Selection of a backend: one ordered list of candidates, of which the first that opens is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nanoseg.engines import RUN_WITHOUT_ENGINES, EngineStore
from nanoseg.errors import DependencyError, EngineError, UsageError

if TYPE_CHECKING:
    from nanoseg.backends.engine import Engine
    from nanoseg.backends.pipeline import AnyPipeline
    from nanoseg.bundle import Bundle, Graph
    from nanoseg.processing.geometry import Resize

# onnxruntime-tensorrt builds its own engines when it is first used, which takes minutes: so auto never selects it.
BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")
# OpenCV preprocesses instead of prepare.onnx.
_ORT_GRAPHS = ("detect", "embed", "segment", "segment_boxes", "segment_mask")

OpenedT = TypeVar("OpenedT")


class UnavailableError(Exception):
    """A candidate that cannot be used here; `reason` is "" if that is normal and not worth a warning."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Candidate(Generic[OpenedT]):
    """A backend that may be taken."""

    backend: str
    open: Callable[[], OpenedT]  # raises UnavailableError where the next candidate is to be tried


def check_backend(backend: str) -> None:
    """Raise UsageError unless `backend` is one of BACKENDS."""
    if backend not in BACKENDS:
        raise UsageError(f"backend: wanted one of {', '.join(BACKENDS)}, got {backend}")


def open_pipeline(
    bundle: Bundle, backend: str = "auto", *, resize: Resize = "cv2", engines: Path | None = None
) -> AnyPipeline:
    """Open the pipeline of a bundle.

    Args:
        bundle: The bundle.
        backend: One of BACKENDS. auto takes tensorrt where the store has a valid engine of each graph for this device,
            else onnxruntime-cuda where ONNX Runtime finds a GPU, else onnxruntime. The logger "nanoseg" warns where
            engines were built for this GPU, or for one that does not start, and cannot be used, where `engines` has
            none of the bundle, and where there is an NVIDIA driver but ONNX Runtime finds no GPU.
        resize: How the encoder's input is resized; tensorrt can do cv2 alone.
        engines: Folder of the engine store, by default that of engines_folder().

    Returns:
        The pipeline, which the caller closes.

    Raises:
        UsageError: For an unknown backend, and for tensorrt with another `resize` than cv2.
        DependencyError: Where a library is missing.
        BundleError: Where a graph of the bundle cannot be read.
        EngineError: Where the backend, or with auto any, cannot run the bundle; nothing stays open then.
    """
    check_backend(backend)
    if bundle.warnings:
        logging.getLogger("nanoseg").warning("%s: %s", bundle.name, "; ".join(bundle.warnings))
    if backend == "tensorrt":
        if resize != "cv2":
            raise UsageError(
                f"resize: backend tensorrt prepares frames on the GPU, as cv2 does; {resize} is onnxruntime's"
            )
        return _open_tensorrt(bundle, engines)
    if backend != "auto":
        return _open_ort_pipeline(bundle, backend, partial(_open_graphs, bundle, backend), resize)
    candidates: list[Candidate[AnyPipeline]] = [
        Candidate(each.backend, partial(_open_ort_pipeline, bundle, each.backend, each.open, resize))
        for each in _ort_candidates(bundle)
    ]
    if resize != "cv2":
        return _open_first(bundle, candidates)
    try:
        return _open_first(bundle, [Candidate("tensorrt", partial(_try_tensorrt, bundle, engines)), *candidates])
    except DependencyError as missing:
        return _explain_missing(bundle, engines, missing)


def open_engines(bundle: Bundle, backend: str = "auto", *, rounded: bool = False) -> Mapping[str, Engine]:
    """Open engines for a bundle's detect, embed and segment, and its optional graphs, on ONNX Runtime.

    Their inputs and outputs are float32, and so is their arithmetic. Frames are preprocessed on the host.

    Args:
        bundle: The bundle.
        backend: One of BACKENDS but tensorrt; auto takes onnxruntime-cuda where it finds a GPU, else onnxruntime.
        rounded: Round every number to the precision of the bundle's graphs, as TensorRT would: slow, for measuring
            what that precision costs.

    Raises:
        UsageError: For another backend.
        DependencyError: Where a library is missing.
        BundleError: Where a graph cannot be read.
        EngineError: Where one cannot be loaded; no engine stays open then.
    """
    check_backend(backend)
    if backend == "tensorrt":
        raise UsageError("open_engines: TensorRT's engines take no arrays; open_pipeline runs them")
    if backend != "auto":
        return _open_graphs(bundle, backend, rounded)
    return _open_first(bundle, _ort_candidates(bundle, rounded))


def _open_first(bundle: Bundle, candidates: Sequence[Candidate[OpenedT]]) -> OpenedT:
    """Open the first available candidate, and warn with the reasons for which those before it were skipped."""
    reasons = []
    for candidate in candidates:
        try:
            opened = candidate.open()
        except UnavailableError as unavailable:
            if unavailable.reason:
                reasons.append(unavailable.reason)
            continue
        for reason in reasons:
            # Printed on stderr unless the program turns it off or sends it elsewhere.
            logging.getLogger("nanoseg").warning("%s: runs on %s, %s", bundle.name, candidate.backend, reason)
        return opened
    raise EngineError(f"{bundle.name}: no backend can run it here: {'; '.join(reasons)}")


def _ort_candidates(bundle: Bundle, rounded: bool = False) -> list[Candidate[Mapping[str, Engine]]]:
    return [
        Candidate("onnxruntime-cuda", partial(_try_cuda, bundle, rounded)),
        Candidate("onnxruntime", partial(_open_graphs, bundle, "onnxruntime", rounded)),
    ]


def _try_tensorrt(bundle: Bundle, engines: Path | None) -> AnyPipeline:
    if not _may_be_built(bundle, engines):
        if engines is None:
            raise UnavailableError
        raise UnavailableError(f"as {EngineStore(engines).root}, the folder of engines that was given, has none of it")
    from nanoseg.backends.tensorrt.pipeline.open import NoEnginesError

    try:
        return _open_tensorrt(bundle, engines)
    except NoEnginesError as error:
        reason = f"not on the engines that were built: {error.reason}" if error.built else ""
        raise UnavailableError(reason) from error
    except EngineError as error:
        raise EngineError(f"{error}; {RUN_WITHOUT_ENGINES}") from error


def _try_cuda(bundle: Bundle, rounded: bool) -> Mapping[str, Engine]:
    from nanoseg.backends.onnxruntime.session import cuda_available

    if not cuda_available():
        raise UnavailableError
    try:
        return _open_graphs(bundle, "onnxruntime-cuda", rounded)
    except EngineError as error:  # no GPU after all, or one without room; a broken file fails on the CPU as well
        from nanoseg.backends.find_device import find_gpu

        raise UnavailableError(f"not on its CUDA provider: {error}" if find_gpu().has_driver else "") from error


def _explain_missing(bundle: Bundle, engines: Path | None, missing: DependencyError) -> AnyPipeline:
    """Raise an error that names both ways out where ONNX Runtime is missing: engines, or the library.

    A Jetson may have nothing but its TensorRT.
    """
    from nanoseg.backends.tensorrt.pipeline.open import NoEnginesError

    try:
        return _open_tensorrt(bundle, engines)
    except NoEnginesError as error:
        if not error.possible:
            raise missing from None
        raise DependencyError(f"{error.reason}; to run without engines: {missing}") from missing


def _may_be_built(bundle: Bundle, engines: Path | None) -> bool:
    """Return whether the store may have an engine of the bundle, for any device."""
    try:
        store = EngineStore(engines)
    except EngineError:  # this user has no home where one could be
        return False
    try:
        return bool(store.list_states(bundle, None))
    except EngineError:  # a folder that cannot be read may have some
        return True


def _open_tensorrt(bundle: Bundle, engines: Path | None) -> AnyPipeline:
    from nanoseg.backends.tensorrt.pipeline.open import open_trt_pipeline

    return open_trt_pipeline(bundle, engines)


def _open_ort_pipeline(
    bundle: Bundle, backend: str, open_graphs: Callable[[], Mapping[str, Engine]], resize: Resize
) -> AnyPipeline:
    from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
    from nanoseg.processing.preprocess import resizer

    resizer(resize)  # may need Pillow: that is reported before networks are loaded
    engines = open_graphs()
    if backend == "onnxruntime":
        return OrtPipeline(bundle, engines, resize)
    from nanoseg.backends.onnxruntime.gpu import OrtGpuPipeline

    return OrtGpuPipeline(bundle, engines, resize, backend)


def _open_graphs(bundle: Bundle, backend: str, rounded: bool = False) -> Mapping[str, Engine]:
    engines: dict[str, Engine] = {}
    with ExitStack() as stack:
        for name in _ORT_GRAPHS:
            if name in bundle.graphs:
                engines[name] = _load_graph(name, bundle.graphs[name], backend, rounded)
                stack.callback(engines[name].close)
        stack.pop_all()  # they are the caller's now
    return engines


def _load_graph(name: str, graph: Graph, backend: str, rounded: bool) -> Engine:
    from nanoseg.backends.onnxruntime.cpu_graphs import cpu_graph, rounded_graph
    from nanoseg.backends.onnxruntime.engine import OrtEngine
    from nanoseg.backends.onnxruntime.without_nms import without_nms

    source = rounded_graph(graph) if rounded else cpu_graph(graph)
    if backend == "onnxruntime":
        source = without_nms(source) if name == "detect" else source
        return OrtEngine(source, name=graph.file, as_stored=rounded)
    from nanoseg.backends.onnxruntime.gpu import OrtGpuEngine

    options = None
    if backend == "onnxruntime-tensorrt":
        from nanoseg.backends.onnxruntime.tensorrt_provider import provider_options

        options = provider_options(name, graph)
    return OrtGpuEngine(source, backend, options, name=graph.file, as_stored=rounded)
