"""What a key of a file may be or hold: the names and values that a struct of msgspec allows at a place."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

_STEP = re.compile(r"\.([^.\[]+)|\[(?:\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(.*)`")


def allowed_values(error: msgspec.ValidationError, schema: Any) -> str:
    """Return the keys or values that are allowed where a file does not fit: `; wanted one of blur, fill`.

    Args:
        error: what msgspec raised; only unknown keys and values out of a list have an answer.
        schema: the type that was decoded.

    Returns:
        Text to append to the message; empty where it already says what is wanted.
    """
    message, _, where = str(error).partition(" - at `$")
    node: Any = inspect.type_info(schema)
    for step in _STEP.finditer(where.rstrip("`")):
        node = _child(node, step[1])
    if unknown := _UNKNOWN.search(message):
        struct = _first(node, inspect.StructType)
        names = [field.encode_name for field in struct.fields] if struct is not None else []
        close = get_close_matches(unknown[1], names)
        return f"; did you mean {close[0]}? {_listed(names)}" if close else _wanted(names)
    if message.startswith("Invalid enum value"):
        literal = _first(node, inspect.LiteralType)
        return _wanted([str(value) for value in literal.values]) if literal is not None else ""
    return ""


def _child(node: Any, name: str | None) -> Any:
    """Return the type of a key, or of an item where the step is an index."""
    if name is None:
        found = _first(node, inspect.ListType, inspect.VarTupleType)
        if found is not None:
            return found.item_type
        mapping = _first(node, inspect.DictType)
        return mapping.value_type if mapping is not None else None
    struct = _first(node, inspect.StructType)
    if struct is None:
        return None
    return next((field.type for field in struct.fields if field.encode_name == name), None)


def _first(node: Any, *kinds: type) -> Any:
    """Return the node, or the part of a union, that is of one of these kinds."""
    parts = node.types if isinstance(node, inspect.UnionType) else (node,)
    return next((part for part in parts if isinstance(part, kinds)), None)


def _wanted(names: list[str]) -> str:
    return f"; wanted one of {', '.join(names)}" if names else ""


def _listed(names: list[str]) -> str:
    return f"There are {', '.join(names)}"
