"""TOML files read into typed structs, with errors that name the file and the path of the key."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from nanoseg.errors import NanosegError, UsageError

T = TypeVar("T")


def read_toml(path: Path, schema: type[T], error: type[NanosegError] = UsageError, missing_hint: str = "") -> T:
    """Read a TOML file and check it.

    Args:
        path: the file.
        schema: a msgspec struct, or dict.
        error: the class to raise.
        missing_hint: what to say where the file cannot be read.

    Raises:
        NanosegError: of class `error`, where the file cannot be read, is not TOML or does not fit `schema`.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=schema)
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror}{missing_hint}") from cause
    except msgspec.ValidationError as cause:  # a DecodeError too, so first
        raise error(f"{path}: {invalid_key(cause)}") from cause
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise error(f"{path}: not TOML: {cause}") from cause


def invalid_key(error: msgspec.ValidationError) -> str:
    """Return the message of a validation error with the key first: ``thresholds.iou: Expected `float` <= 1.0``."""
    message, _, where = str(error).partition(" - at `$")
    key = where.strip("`").lstrip(".")
    return f"{key}: {message}" if key else message
