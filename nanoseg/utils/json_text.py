"""JSON read with limits: depth, digits, repeated keys, NaN. The messages name the file and the place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.errors import NanosegError, UsageError, one_line
from nanoseg.utils.json_place import refused_object_place
from nanoseg.utils.read_file import MAX_TEXT_BYTES, read_text
from nanoseg.utils.toml import invalid_key

_MAX_SHOWN = 40  # characters of a key in a message
_LONG_NUMBER = re.compile(r"[0-9]{1000,}")


def read_json(
    path: str | Path,
    schema: Any = Any,
    limit: int = MAX_TEXT_BYTES,
    error: type[NanosegError] = UsageError,
    hint: str = "",
    allow_nan: bool = False,
) -> Any:
    """Read a JSON file and check it.

    Args:
        path: the file.
        schema: a type that msgspec knows; the default takes everything.
        limit: the largest size in bytes; `MAX_ANNOTATION_BYTES` for COCO annotations.
        error: the class to raise.
        hint: what to do where the file cannot be read, the end of the message.
        allow_nan: take NaN and Infinity, which are no JSON, as numbers.

    Raises:
        NanosegError: of class `error`, where the file cannot be read, is not JSON or does not fit `schema`.
    """
    return parse_json(read_text(path, limit, error, hint), str(path), schema, error, allow_nan)


def parse_json(
    text: str,
    where: str,
    schema: Any = Any,
    error: type[NanosegError] = UsageError,
    allow_nan: bool = False,
) -> Any:
    """Return the value of JSON text; for text that is no file, such as a file's metadata.

    Args:
        text: the text.
        where: what the message begins with.
        schema: as `read_json` takes it.
        error: as `read_json` takes it.
        allow_nan: as `read_json` takes it.

    Raises:
        NanosegError: as `read_json` does.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=None if allow_nan else _refuse_constant)
    except json.JSONDecodeError as cause:
        raise error(f"{where}: not JSON: {cause.msg} (line {cause.lineno}, column {cause.colno})") from cause
    except RecursionError as cause:
        raise error(f"{where}: not read: its brackets are nested too deep") from cause
    except ValueError as cause:
        number = _LONG_NUMBER.search(text) if "digits" in str(cause) else None
        if number is None:
            place = refused_object_place(text, _unique_keys)
            raise error(f"{where}: {one_line(cause)}" + (f" ({place})" if place else "")) from cause
        line = text.count("\n", 0, number.start()) + 1
        raise error(f"{where}: line {line}: a number of {len(number[0])} digits is too long") from cause
    if schema is Any:
        return value
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as cause:
        raise error(f"{where}: {invalid_key(cause)}") from cause


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {key[:_MAX_SHOWN]!r} is there twice in one object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"wanted numbers, got {name}, which is no JSON")
