"""Names of files as text: Linux allows any bytes, and Python carries those that are not UTF-8 as lone surrogates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec


def printable_path(path: str | Path) -> str:
    r"""Return a path as text that can be encoded: bytes that are not UTF-8 become `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def encode_json(value: Any, *, indent: bool = False) -> bytes:
    r"""Return a value as JSON in UTF-8; in its strings, bytes of file names that are not UTF-8 become `\xff`.

    Args:
        value: what msgspec encodes.
        indent: over many lines, with a line feed behind the last.
    """
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(value)))
    return msgspec.json.format(data) + b"\n" if indent else data


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return _encodable_text(value)
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, (list, tuple)) else value


def _encodable_text(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode()
