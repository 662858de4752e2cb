"""A bundle's graphs as ONNX Runtime runs them: in float32, made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from nanoseg.bundle import Graph
from nanoseg.engines.paths import cache_folder
from nanoseg.errors import EngineError
from nanoseg.utils.files import write_atomic
from nanoseg.utils.hashing import sha256_of_file

REVISION = 1  # of what is done to a graph; raised with every change of that, so that nothing older is taken
_DIGITS = 16  # of a sha256, enough to tell files apart


def cpu_graph(graph: Graph) -> Path | bytes:
    """The same graph in float32: its own file where that is so, else one of the cache, else a file's content.

    In the cache it is called by both graphs' sha256, and held against its own each time; one that is damaged is made
    anew. Where the cache cannot be written nothing is kept. Raises BundleError for a file that is no network,
    DependencyError without onnx where it has to be made.
    """
    if graph.precision == "fp32":
        return graph.path
    folder = _folder()
    kept = folder and _find(folder, graph)
    if kept:
        return kept
    from nanoseg.onnx_graphs.deploy.float32 import (
        float32_graph,  # here: what is kept, and what is float32 anyway, needs no onnx
    )

    data = float32_graph(graph.path)
    return (folder and _keep(folder, graph, data)) or data


def rounded_graph(graph: Graph) -> Path | bytes:
    """The same graph, all numbers rounded as its precision has it; for OrtEngine's `as_stored`. Raises the same."""
    if graph.precision == "fp32":
        return graph.path
    from nanoseg.onnx_graphs.deploy.float32 import emulated_graph

    return emulated_graph(graph.path)


def _folder() -> Path | None:
    try:
        return cache_folder() / "cpu" / str(REVISION)
    except EngineError:  # this user has no home
        return None


def _find(folder: Path, graph: Graph) -> Path | None:
    """The kept file that is whole."""
    for path in _all(folder, graph):
        with suppress(OSError):
            if path.stem.endswith(f"-{sha256_of_file(path)[:_DIGITS]}"):
                return path
    return None


def _keep(folder: Path, graph: Graph, data: bytes) -> Path | None:
    """Write the file beside its place and rename it, so that others see it whole; None where that cannot be."""
    path = folder / f"{_prefix(graph)}{hashlib.sha256(data).hexdigest()[:_DIGITS]}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError:
        return None
    for other in _all(folder, graph):
        if other != path:  # damaged, else it had been found
            with suppress(OSError):
                other.unlink()
    return path


def _all(folder: Path, graph: Graph) -> list[Path]:
    try:
        return sorted(folder.glob(f"{_prefix(graph)}*.onnx"))
    except OSError:
        return []


def _prefix(graph: Graph) -> str:
    return f"{graph.sha256[:_DIGITS]}-"
