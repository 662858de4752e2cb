"""Files that an ONNX file refers to: weights kept outside it, read without the onnx package."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from nanoseg.bundle.manifest import ExternalFile
from nanoseg.errors import BundleError
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.protobuf import Span, copy_field, mapped_file, read_fields, read_text, write_field

# Field numbers of onnx.proto's ModelProto, GraphProto, FunctionProto, NodeProto, AttributeProto and TensorProto.
_GRAPH, _FUNCTIONS = 7, 25
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_FUNCTION_NODE = 7
_ATTRIBUTE = 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_RAW_DATA, EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_KEY, _VALUE = 1, 2
MAX_INSIDE_BYTES = 1 << 30  # of weights that are read into one file: protobuf takes two gigabytes
MARK = b"location"  # the key that every reference has


def read_external_data(path: Path) -> dict[str, int]:
    """Return the files that an ONNX file refers to, by its own words, and the bytes that each must have.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no ONNX file.
    """
    with mapped_file(path) as content:
        return external_data(content)


def external_data(content: memoryview) -> dict[str, int]:
    """Return the same of a file's content."""
    found: dict[str, int] = {}
    for field, span in _messages(content, None):
        if field == _GRAPH:
            tensors = _graph_tensors(content, span)
        elif field == _FUNCTIONS:
            tensors = _node_tensors(content, span, _FUNCTION_NODE)
        else:
            continue
        for tensor in tensors:
            if entries := _reference(content, tensor):
                location = entries.get("location", "")
                end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
                found[location] = max(found.get(location, 0), end)
    return found


def check_external_data(path: Path) -> list[Path]:
    """Check the files that an ONNX file refers to: each lies in its folder and is long enough.

    Returns:
        Their paths. None for a file that is no ONNX, which is for others to tell.

    Raises:
        BundleError: one is missing, too short or outside the folder; names it.
    """
    try:
        found = read_external_data(path)
    except (OSError, ValueError):
        return []
    paths, got = [], f"{path}: wanted an ONNX model, got weights"
    for location, wanted in sorted(found.items()):
        where = inside(path, location)
        try:
            status = os.stat(where)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BundleError(f"{got} that are missing, {where}: {reason}; keep it beside {path.name}") from error
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{got} in no file but something else, {where}; copy it anew")
        if status.st_size < wanted:
            raise BundleError(
                f"{got} cut short, {where}: wanted {wanted} bytes or more, got {status.st_size}; copy it anew"
            )
        paths.append(where)
    return paths


def inside(path: Path, location: str) -> Path:
    """Return the path that a file refers to; raises BundleError where that is outside the file's folder."""
    where = beside(path, location)
    try:
        outside = not where.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError, ValueError):  # RuntimeError: a loop of links
        outside = True
    if outside:
        raise _outside(path, location)
    return where


def beside(path: Path, location: str) -> Path:
    """Return the same where a file of the folder may be a link to elsewhere, as of files that are verified."""
    named = Path(location)
    if not named.parts or "\0" in location or named.is_absolute() or ".." in named.parts:
        raise _outside(path, location)
    return path.parent / named


def _outside(path: Path, location: str) -> BundleError:
    return BundleError(f"{path}: wanted an ONNX model, got weights outside its folder, {location!r}; export it anew")


def with_weights(path: Path) -> bytes:
    """Return a graph's content with the initializers of other files inside; libraries refuse such files that are links.

    Raises:
        BundleError: one lies outside the folder.
        OSError: a file cannot be read.
        ValueError: it is no ONNX file, or weights are cut short.
    """
    with mapped_file(path) as content:
        parts = []
        for number, value in read_fields(content):
            if number != _GRAPH or not isinstance(value, tuple):
                parts.append(copy_field(content, number, value))
                continue
            fields = []
            for field, part in read_fields(content, value):
                if field == _INITIALIZER and isinstance(part, tuple):
                    fields.append(write_field(field, _tensor_with_data(path, content, part)))
                else:
                    fields.append(copy_field(content, field, part))
            parts.append(write_field(number, b"".join(fields)))
        return b"".join(parts)


def _tensor_with_data(path: Path, content: memoryview, tensor: Span) -> bytes:
    words = _reference(content, tensor)
    if not words:
        return bytes(content[slice(*tensor)])
    offset = int(words.get("offset") or 0)
    with beside(path, words.get("location", "")).open("rb") as file:
        file.seek(offset)
        data = file.read(int(words["length"])) if "length" in words else file.read()
    if len(data) < int(words.get("length") or 0):
        raise ValueError(f"weights cut short in {words['location']}")
    own = (_RAW_DATA, EXTERNAL_DATA, _DATA_LOCATION)
    kept = [copy_field(content, number, value) for number, value in read_fields(content, tensor) if number not in own]
    return b"".join([*kept, write_field(_RAW_DATA, data)])


def _reference(content: memoryview, tensor: Span) -> dict[str, str]:
    """Return the words of a tensor about the file that its data lie in: location, offset, length; else nothing."""
    words = {}
    for number, entry in _messages(content, tensor):
        if number == EXTERNAL_DATA:
            pair = {key: read_text(content, word) for key, word in _messages(content, entry)}
            words[pair.get(_KEY, "")] = pair.get(_VALUE, "")
    return words


def hash_external_data(path: Path) -> list[ExternalFile]:
    """Return the entries of bundle.toml for the files that an ONNX file refers to; raises as the check does."""
    folder = path.parent
    return [
        ExternalFile(where.relative_to(folder).as_posix(), sha256_of_file(where), where.stat().st_size)
        for where in check_external_data(path)
    ]


def combined_sha256(sha256: str, files: Iterable[ExternalFile]) -> str:
    """Return one digest for an ONNX file and the files that it refers to: its own where there are none."""
    lines = [f"{each.sha256}  {each.file}" for each in files]
    return hashlib.sha256("\n".join([sha256, *lines]).encode()).hexdigest() if lines else sha256


def _messages(content: memoryview, span: Span | None) -> Iterator[tuple[int, Span]]:
    for field, value in read_fields(content, span):
        if isinstance(value, tuple):
            yield field, value


def _graph_tensors(content: memoryview, graph: Span) -> Iterator[Span]:
    for field, span in _messages(content, graph):
        if field == _INITIALIZER:
            yield span
        elif field == _SPARSE_INITIALIZER:
            yield from _sparse_tensors(content, span)
        elif field == _NODE and MARK in bytes(content[slice(*span)]):
            yield from _attribute_tensors(content, span)


def _node_tensors(content: memoryview, function: Span, number: int) -> Iterator[Span]:
    for field, span in _messages(content, function):
        if field == number and MARK in bytes(content[slice(*span)]):
            yield from _attribute_tensors(content, span)


def _attribute_tensors(content: memoryview, node: Span) -> Iterator[Span]:
    for node_field, attribute in _messages(content, node):
        if node_field != _ATTRIBUTE:
            continue
        for field, span in _messages(content, attribute):
            if field in _ATTRIBUTE_TENSORS:
                yield span
            elif field in _ATTRIBUTE_GRAPHS:
                yield from _graph_tensors(content, span)
            elif field in _ATTRIBUTE_SPARSE:
                yield from _sparse_tensors(content, span)


def _sparse_tensors(content: memoryview, sparse: Span) -> Iterator[Span]:
    for field, span in _messages(content, sparse):
        if field in _SPARSE_TENSORS:
            yield span
