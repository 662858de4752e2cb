"""Whether a file can be written where it was asked for: told in one line, before minutes are spent on it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanoseg.errors import UsageError, one_line


@contextmanager
def writing_out(path: Path, flag: str = "--out") -> Iterator[None]:
    """Make a UsageError, which names the file and its flag, of what the system has against writing `path`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or one_line(error)
        raise UsageError(f"{path}: cannot be written: {why}; choose another {flag}") from error


def check_out(path: Path, flag: str = "--out") -> None:
    """Raise UsageError where no file `path` can be put; what this tries by is gone afterwards."""
    made: list[Path] = []
    try:
        with writing_out(path, flag):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            parent = path.absolute().parent
            if parent.exists() and not parent.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            made = [folder for folder in path.absolute().parents if not folder.exists()]
            parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent):
                pass
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
