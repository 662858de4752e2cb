"""Strategies that change a file: bytes anywhere, or values within a document of JSON."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

# Numbers at which a size, a count or an offset overflows.
_EDGES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
_SNIPPETS = [b"\0", b"\n", b"\r\n", b'"', b"[" * 3000, b"{" * 3000, b"9" * 5000, b"1e999", b"nan", b"-1", b"\xff\xfe"]
_SNIPPETS += [b"a." * 3000, b"../" * 5, b"\x1b[31m", "\u202e\ud7ff".encode(), b"<!DOCTYPE html>", b"\xef\xbb\xbf"]
_PACKINGS = ["<B", "<H", ">H", "<I", ">I", "<Q", ">Q"]

Edit = Callable[[bytearray], None]


def changed_bytes(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return one of `seeds` after one to four edits, now and then none or arbitrary bytes."""
    edited = st.builds(_apply, st.sampled_from(seeds), st.lists(_edits(seeds), min_size=1, max_size=4))
    return edited | st.sampled_from(seeds) | st.binary(max_size=300)


def changed_json(documents: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """Return one of `documents` as JSON, with one to three values replaced, removed, doubled or renamed."""
    places = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(_CHANGES), _values()), min_size=1, max_size=3)
    return st.builds(_change_document, st.sampled_from(documents), places)


def _edits(seeds: Sequence[bytes]) -> st.SearchStrategy[Edit]:
    where, length = st.floats(0, 1), st.integers(1, 64)
    return st.one_of(
        st.builds(_overwrite, where, st.binary(min_size=1, max_size=8)),
        st.builds(_flip, where, st.integers(0, 7)),
        st.builds(_pack, where, st.sampled_from(_EDGES), st.sampled_from(_PACKINGS)),
        st.builds(_insert, where, st.binary(min_size=1, max_size=16) | st.sampled_from(_SNIPPETS)),
        st.builds(_delete, where, length),
        st.builds(_repeat, where, length, st.integers(2, 2000)),
        st.builds(_truncate, where),
        st.builds(_splice, where, st.sampled_from(seeds), where),
    )


def _apply(seed: bytes, edits: Sequence[Edit]) -> bytes:
    data = bytearray(seed)
    for edit in edits:
        edit(data)
    return bytes(data[:4_000_000])


def _overwrite(where: float, data: bytes) -> Edit:
    def edit(content: bytearray) -> None:
        at = int(where * len(content))
        content[at : at + len(data)] = data

    return edit


def _flip(where: float, bit: int) -> Edit:
    def edit(content: bytearray) -> None:
        if content:
            content[min(int(where * len(content)), len(content) - 1)] ^= 1 << bit

    return edit


def _pack(where: float, number: int, packing: str) -> Edit:
    size = struct.calcsize(packing)
    return _overwrite(where, struct.pack(packing, number & (1 << 8 * size) - 1))


def _insert(where: float, data: bytes) -> Edit:
    def edit(content: bytearray) -> None:
        at = int(where * len(content))
        content[at:at] = data

    return edit


def _delete(where: float, length: int) -> Edit:
    def edit(content: bytearray) -> None:
        at = int(where * len(content))
        del content[at : at + length]

    return edit


def _repeat(where: float, length: int, times: int) -> Edit:
    def edit(content: bytearray) -> None:
        at = int(where * len(content))
        content[at : at + length] = content[at : at + length] * times

    return edit


def _truncate(where: float) -> Edit:
    def edit(content: bytearray) -> None:
        del content[int(where * len(content)) :]

    return edit


def _splice(where: float, other: bytes, other_where: float) -> Edit:
    def edit(content: bytearray) -> None:
        content[int(where * len(content)) :] = other[int(other_where * len(other)) :]

    return edit


class _Raw:
    """Text that is written as it is, for what Python's json would not write."""

    def __init__(self, text: str) -> None:
        self.text = text


def _values() -> st.SearchStrategy[Any]:
    fixed = [None, True, -1, 0, 1e8, 2**31, 2**63, 2**70, 1e308, "", "\0", "x" * 5000, [], {}, [[]], [None], "../a.png"]
    raw = [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "9" * 5000,
        "[" * 3000 + "]" * 3000,
        '{"a":' * 3000 + "1" + "}" * 3000,
    ]
    return st.sampled_from(fixed) | st.sampled_from([_Raw(text) for text in raw]) | st.floats() | st.text(max_size=8)


_CHANGES = ("replace", "replace", "replace", "remove", "double", "rename")


def _change_document(document: Any, places: Sequence[tuple[float, str, Any]]) -> bytes:
    document = copy.deepcopy(document)
    raws: dict[str, str] = {}
    for where, change, value in places:
        if isinstance(value, _Raw):
            token = f"@raw{len(raws)}@"
            raws[f'"{token}"'], value = value.text, token
        parents = list(_places(document))
        if not parents:
            break
        parent, key = parents[min(int(where * len(parents)), len(parents) - 1)]
        if change == "remove":
            del parent[key]
        elif change == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif change == "rename" and isinstance(parent, dict):
            parent[f"{key}_"] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(value)  # a later place may change what is in it
    text = json.dumps(document)
    for token, raw in raws.items():
        text = text.replace(token, raw)
    return text.encode("utf-8", "surrogatepass")


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document, the outermost first."""
    found: list[tuple[Any, Any]] = []
    containers = [document]
    for container in containers:
        items = (
            container.items()
            if isinstance(container, dict)
            else enumerate(container)
            if isinstance(container, list)
            else ()
        )
        for key, value in items:
            found.append((container, key))
            if isinstance(value, dict | list):
                containers.append(value)
    return found
