"""Float32 graphs of a bundle for ONNX Runtime, converted once and kept in the user's cache."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from nanoseg.bundle import Graph
from nanoseg.bundle.external_data import MAX_INSIDE_BYTES, with_weights
from nanoseg.engines.paths import cache_folder
from nanoseg.errors import EngineError
from nanoseg.utils.files import write_atomic
from nanoseg.utils.hashing import sha256_of_file

REVISION = 1  # of the conversion; raise it with every change of that, so that older files are not used
_DIGITS = 16  # of a sha256, enough to tell files apart


def cpu_graph(graph: Graph) -> Path | bytes:
    """Return a graph in float32.

    A cached file is named by the sha256 of both graphs and compared with its own each time; a damaged one is replaced.

    Returns:
        The graph's own file where that is float32 and holds its weights, its content with them where other files do;
        else a file of the cache, or, where the cache cannot be written, a file's content.

    Raises:
        BundleError: For a file that is not ONNX.
        DependencyError: Where it has to be converted and onnx is not installed.
    """
    if graph.precision == "fp32":
        return _float32_file(graph)
    folder = _folder()
    cached = folder and _find(folder, graph)
    if cached:
        return cached
    # Imported here: cached graphs and those in float32 do not need onnx.
    from nanoseg.onnx_graphs.deploy.float32 import float32_graph

    data = float32_graph(graph.path)
    return (folder and _store(folder, graph, data)) or data


def rounded_graph(graph: Graph) -> Path | bytes:
    """Return a graph whose numbers are all rounded to its precision, for OrtEngine's `as_stored`; raises the same."""
    if graph.precision == "fp32":
        return _float32_file(graph)
    from nanoseg.onnx_graphs.deploy.float32 import emulated_graph

    return emulated_graph(graph.path)


def _float32_file(graph: Graph) -> Path | bytes:
    """Return a graph's own file, or its content with weights of other files, of which ONNX Runtime takes no links."""
    if not 0 < graph.external_bytes < MAX_INSIDE_BYTES:
        return graph.path
    try:
        return with_weights(graph.path)
    except (OSError, ValueError):  # ONNX Runtime says what is wrong with it
        return graph.path


def _folder() -> Path | None:
    try:
        return cache_folder() / "cpu" / str(REVISION)
    except EngineError:  # this user has no home
        return None


def _find(folder: Path, graph: Graph) -> Path | None:
    """Return the cached file of a graph, unless it is damaged."""
    for path in _all(folder, graph):
        with suppress(OSError):
            if path.stem.endswith(f"-{sha256_of_file(path)[:_DIGITS]}"):
                return path
    return None


def _store(folder: Path, graph: Graph, data: bytes) -> Path | None:
    """Write the converted graph to the cache; None where that is not possible."""
    path = folder / f"{_prefix(graph)}{hashlib.sha256(data).hexdigest()[:_DIGITS]}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError:
        return None
    for other in _all(folder, graph):
        if other != path:  # damaged, or it would have been found
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
