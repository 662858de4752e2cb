"""Where something is in JSON text, for messages about one object of thousands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from json.decoder import JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def entry_places(text: str, key: str, indices: Collection[int]) -> dict[int, str]:
    """Return `line 12, column 5`, counted from 1, of entries of the list `key` of the object that the text is.

    Args:
        text: JSON that has been read before.
        key: of the object; where it is no list the result is empty.
        indices: of the list; those that it has not are left out.
    """
    position = _skip(text, text.find("{") + 1)
    while text.startswith('"', position):
        name, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        if name == key:
            return _places(text, position, set(indices)) if text.startswith("[", position) else {}
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
    return {}


def refused_object_place(text: str, hook: Callable[[list[tuple[str, Any]]], Any]) -> str | None:
    """Return line and column of the object for which an `object_pairs_hook` raises ValueError, None for none.

    Slow: the standard library's decoder in Python alone knows where it is.
    """
    starts: list[int] = []

    def parse_object(text_and_end: tuple[str, int], *rest: Any) -> Any:
        try:
            return JSONObject(text_and_end, *rest)
        except ValueError:
            starts.append(text_and_end[1] - 1)  # the innermost object is the first
            raise

    decoder: Any = json.JSONDecoder(object_pairs_hook=hook)
    decoder.parse_object = parse_object
    try:
        py_make_scanner(decoder)(text, _skip(text, 0))
    except (ValueError, RecursionError, StopIteration):
        return _place(text, starts[0]) if starts else None
    return None


def _place(text: str, position: int) -> str:
    return f"line {text.count(chr(10), 0, position) + 1}, column {position - text.rfind(chr(10), 0, position)}"


def _places(text: str, position: int, wanted: set[int]) -> dict[int, str]:
    places: dict[int, str] = {}
    line, counted, index = 1, 0, 0
    position = _skip(text, position + 1)
    while wanted and not text.startswith("]", position):
        if index in wanted:
            wanted.remove(index)
            line, counted = line + text.count("\n", counted, position), position
            places[index] = f"line {line}, column {position - text.rfind(chr(10), 0, position)}"
        _, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)
        index += 1
    return places


def _skip(text: str, position: int) -> int:
    """Return the position of the next character that is no white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position
