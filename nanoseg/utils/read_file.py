"""Read files with limits: a pipe, a device, another encoding or a giant is an error of one line, never a wait.

Every file that a user names is opened by `open_file`, or checked by `check_file` where a library opens it by its path;
`nanoseg.utils.regular_file` is the same with the system's errors.
`read_text` and the readers of TOML and JSON (`nanoseg.utils.toml`, `nanoseg.utils.json_text`) are built on it.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nanoseg.errors import NanosegError, UsageError, os_reason
from nanoseg.utils.regular_file import open_regular, read_at_most

MAX_TEXT_BYTES = 1_000_000  # configuration, labels, records of engines: the largest known is half of it
MAX_ANNOTATION_BYTES = 4_000_000_000  # COCO annotations; those of Objects365 are 2 GB

_HEAD = 1 << 16  # bytes that are looked at before a large file is read whole
# The longer marks first: UTF-32's begins with UTF-16's.
_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


@contextmanager
def open_file(path: str | Path, error: type[NanosegError] = UsageError, hint: str = "") -> Iterator[BinaryIO]:
    """Open a regular file to read bytes, with errors for a user.

    Args:
        path: the file; a symbolic link is followed.
        error: the class to raise.
        hint: what to do where the file cannot be read, the end of the message.

    Raises:
        NanosegError: of class `error`, where `open_regular` raises OSError, and where the block within `with` does.
    """
    try:
        with open_regular(path) as file:
            yield file
    except OSError as cause:
        raise error(f"{path}: cannot be read: {os_reason(cause)}{hint}") from cause
    except ValueError as cause:
        if "\0" not in str(path):
            raise
        raise error(f"{str(path)!r}: cannot be read: a name with a NUL in it{hint}") from cause


def check_file(path: str | Path, error: type[NanosegError] = UsageError, hint: str = "") -> int:
    """Return a file's size in bytes; for files that a library opens by their path. Errors are those of `open_file`."""
    with open_file(path, error, hint) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(
    path: str | Path, limit: int = MAX_TEXT_BYTES, error: type[NanosegError] = UsageError, hint: str = ""
) -> bytes:
    """Return a file's content.

    Args:
        path: the file.
        limit: the largest size in bytes.
        error: the class to raise.
        hint: as `open_file` takes it.

    Raises:
        NanosegError: as `open_file` does, and where the file is larger than `limit`.
    """
    with open_file(path, error, hint) as file:
        return read_at_most(file, limit, path)


def read_text(
    path: str | Path, limit: int = MAX_TEXT_BYTES, error: type[NanosegError] = UsageError, hint: str = ""
) -> str:
    """Return the text of a UTF-8 file, without the byte-order mark that some editors begin it with.

    Args:
        path: the file.
        limit: the largest size in bytes.
        error: the class to raise.
        hint: as `open_file` takes it.

    Raises:
        NanosegError: as `read_bytes` does, and where the file is no UTF-8 text; the message says which line is not.
    """
    with open_file(path, error, hint) as file:
        # The head is judged first, so that a sparse file of gigabytes is not read.
        if fault := _no_text(file.read(min(_HEAD, limit))):
            raise error(f"{path}: wanted UTF-8 text, got {fault}")
        file.seek(0)
        raw = read_at_most(file, limit, path)
    return decode_text(raw, str(path), error)


def decode_text(raw: bytes, where: str, error: type[NanosegError] = UsageError) -> str:
    """Return bytes as UTF-8 text without its byte-order mark.

    Args:
        raw: the bytes.
        where: what the message begins with, a file's path for example.
        error: the class to raise.

    Raises:
        NanosegError: of class `error`, where the bytes are of another encoding or no text.
    """
    if fault := _no_text(raw):
        raise error(f"{where}: wanted UTF-8 text, got {fault}")
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as cause:
        line = cause.object.count(b"\n", 0, cause.start) + 1
        byte = cause.object[cause.start]
        raise error(
            f"{where}: line {line}: wanted UTF-8 text, got byte 0x{byte:02x}; save it in the encoding UTF-8"
        ) from cause


def format_bytes(count: int) -> str:
    """Return a size for a message: `12 kB`, `1.5 GB`."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _no_text(raw: bytes) -> str:
    """Return what bytes are instead of UTF-8 text; empty where nothing speaks against it."""
    for mark, name in _OTHER_ENCODINGS:
        if raw.startswith(mark):
            return f"{name}; save it in the encoding UTF-8"
    if b"\0" in raw[:_HEAD]:
        # Text of UTF-16 without a mark: every second byte of Latin letters is 0.
        even, odd = (raw[start:_HEAD:2].count(0) * 2 > len(raw[start:_HEAD:2]) for start in (0, 1))
        if even != odd:
            return "UTF-16; save it in the encoding UTF-8"
        return "NUL bytes: no text"
    return ""
