"""TOML files read into typed structs, with errors that name the file and the path of the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from nanoseg.errors import NanosegError, UsageError, one_line
from nanoseg.utils.allowed_values import allowed_values
from nanoseg.utils.read_file import read_text

T = TypeVar("T")

# Far above what any of our files needs, and below what makes a parser slow: one reads nested keys in quadratic time.
MAX_DEPTH = 32
MAX_DIGITS = 64

# What strings and comments hold is no syntax. An unclosed one ends with its line or the file, so that a match is never
# tried twice from within it.
_STRINGS = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|' r"'''.*?(?:'''|\Z)|" r'"(?:\\.|[^"\\\n])*"?|' r"'[^'\n]*'?|" r"#[^\n]*", re.DOTALL
)
_TOKENS = re.compile(r"[\n\[\]{}=,]|[^\n\[\]{}=,]+")
_LONG_NUMBER = re.compile(rf"\s*[+-]?[0-9][0-9A-Za-z_]{{{MAX_DIGITS},}}\s*")


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
    text = read_text(path, error=error, hint=missing_hint)
    if fault := _extreme(text):
        raise error(f"{path}: {fault}")
    try:
        return msgspec.toml.decode(text, type=schema)
    except msgspec.ValidationError as cause:  # a DecodeError too, so first
        raise error(f"{path}: {invalid_key(cause)}{allowed_values(cause, schema)}") from cause
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise error(f"{path}: not TOML: {one_line(cause)}") from cause


def invalid_key(error: msgspec.ValidationError) -> str:
    """Return the message of a validation error with the key first: ``thresholds.iou: Expected `float` <= 1.0``."""
    message, _, where = str(error).partition(" - at `$")
    key = where.strip("`").lstrip(".")
    return f"{key}: {message}" if key else message


def _extreme(text: str) -> str:
    """Return what a parser would fail at or take minutes for; empty for text that can be parsed."""
    bare = _STRINGS.sub(lambda found: "\n" * found[0].count("\n") if found[0][0] == "#" else _quoted(found[0]), text)
    line, depth = 1, 0
    for token in _TOKENS.findall(bare):
        if token == "\n":
            line += 1
        elif token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        elif token.count(".") >= MAX_DEPTH:
            return f"line {line}: wanted at most {MAX_DEPTH} parts in a key, got {token.count('.') + 1}"
        elif _LONG_NUMBER.fullmatch(token):
            return f"line {line}: wanted a number of at most {MAX_DIGITS} digits, got {len(token.strip())}"
        if depth > MAX_DEPTH:
            return f"line {line}: brackets are nested too deep; wanted at most {MAX_DEPTH} levels"
    return ""


def _quoted(string: str) -> str:
    """Return a stand-in for a string that may be a part of a key, with its lines."""
    return "x" + "\n" * string.count("\n")
