"""The received part of a file: NAME.part beside its target, and a note of its origin."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nanoseg.errors import UsageError
from nanoseg.utils.files import move_into_place, write_atomic, write_errors
from nanoseg.utils.json_text import read_json

_ADVICE = "free some space, or choose another --out"


@dataclass(frozen=True)
class Origin:
    """Where the first bytes came from, so that no other file is appended to them."""

    url: str
    total: int | None  # bytes in all
    etag: str | None = None  # as the server writes it
    modified: str | None = None  # its Last-Modified

    @property
    def validator(self) -> str | None:
        """The value for If-Range: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True, eq=False)
class PartialFile:
    """An open partial file, locked against other processes."""

    target: Path  # path of the complete file
    file: io.FileIO

    @property
    def path(self) -> Path:
        """Path of the partial file."""
        return _path(self.target)

    def __len__(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def write(self, block: bytes) -> None:
        """Append; raises UsageError where the disk is full or fails."""
        view = memoryview(block)
        while view:
            with write_errors(self.path, _ADVICE):
                view = view[self.file.write(view) :]

    def clear(self) -> None:
        """Discard all bytes."""
        if len(self):
            self.file.truncate(0)

    def check_space(self, missing: int) -> None:
        """Raise UsageError unless the disk has space for so many more bytes."""
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            reason = f"needs {missing:,} bytes of disk space, {free:,} are free"
            raise UsageError(f"{self.path.parent}: {reason}; free some, or choose another --out")

    def read_origin(self, url: str) -> Origin | None:
        """Return the noted origin, None where the bytes came from another URL."""
        origin = None
        with suppress(UsageError, TypeError):
            origin = Origin(**read_json(_origin_path(self.target)))
        return origin if origin and origin.url == url else None

    def write_origin(self, origin: Origin) -> None:
        """Note the origin of the bytes."""
        with write_errors(self.path, _ADVICE):
            write_atomic(_origin_path(self.target), json.dumps(asdict(origin)).encode(), durable=False)

    def finish(self) -> None:
        """Rename it to the complete file."""
        with write_errors(self.target, _ADVICE):
            move_into_place(self.path, self.target)
        _origin_path(self.target).unlink(missing_ok=True)


@contextmanager
def open_partial_file(target: Path) -> Iterator[PartialFile]:
    """Open the partial file of `target`, made where there is none; an empty one is removed at the end.

    Raises:
        UsageError: It cannot be written, or another process is fetching it.
    """
    path = _path(target)
    with write_errors(path, _ADVICE):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)  # unbuffered: a full disk shows at once
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            alone = False
        except OSError:
            alone = True  # a file system that has no locks
        if not alone:
            raise UsageError(f"{path}: another process is fetching it; wait until it ends, then run again")
        part = PartialFile(target, file)
        try:
            yield part
        finally:
            if not len(part):
                path.unlink(missing_ok=True)
                _origin_path(target).unlink(missing_ok=True)


def _path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _origin_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.origin.part")
