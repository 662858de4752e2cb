"""Names of files as text: Linux allows any bytes, and Python carries those that are not UTF-8 as lone surrogates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

_MAX_NAMES = 3  # in an error message


def printable_path(path: str | Path) -> str:
    r"""Return a path as text that can be encoded: bytes that are not UTF-8 become `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def utf8_path(path: str | Path) -> Iterator[str]:
    """Yield a name of a file that is UTF-8, for libraries that take no other; valid until the end of the `with` block.

    Raises:
        OSError: the folder or file cannot be opened.
    """
    folder, name = os.path.split(os.fspath(path))
    if _is_utf8(folder) and _is_utf8(name):
        yield os.fspath(path)
        return
    # The folder's descriptor, not the file's, so that what lies beside the file is found too.
    descriptor = os.open(folder or "." if _is_utf8(name) else path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield f"/proc/self/fd/{descriptor}{f'/{name}' if _is_utf8(name) else ''}"
    finally:
        os.close(descriptor)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def first_names(names: Iterable[str]) -> str:
    """Return the first few names, separated by commas, for an error message."""
    listed = list(names)
    return ", ".join(listed[:_MAX_NAMES]) + (", ..." if len(listed) > _MAX_NAMES else "")
