"""Where the entries of a list begin in JSON text, for messages about one object of thousands."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

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
