"""What has arrived of a file: NAME.part beside its place, and a note of where it came from."""

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
from nanoseg.utils.files import move_into_place


@dataclass(frozen=True)
class Origin:
    """What the part's first bytes came from, so that no other file is appended to them."""

    url: str
    total: int | None  # bytes of the whole
    etag: str | None = None  # what the server calls this version, as it says it
    modified: str | None = None  # its Last-Modified

    @property
    def validator(self) -> str | None:
        """What If-Range takes: an ETag, unless it is a weak one, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True, eq=False)
class Part:
    """An open part, which no other process may write to meanwhile."""

    place: Path  # where the whole belongs
    file: io.FileIO

    @property
    def path(self) -> Path:
        """The part itself."""
        return _path(self.place)

    def __len__(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def write(self, block: bytes) -> None:
        """Append; raises UsageError where the disk is full or fails."""
        view = memoryview(block)
        while view:
            try:
                view = view[self.file.write(view) :]
            except OSError as error:
                raise _disk(self.path, error) from error

    def empty(self) -> None:
        """Throw away what arrived."""
        if len(self):
            self.file.truncate(0)

    def check_room(self, missing: int) -> None:
        """Raise UsageError unless so many bytes more have room on the disk."""
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            told = f"wanted room for {missing:,} bytes, there is {free:,}"
            raise UsageError(f"{self.path.parent}: {told}; make some, or give another --out")

    def origin(self, url: str) -> Origin | None:
        """What it began as, if it did at this address."""
        origin = None
        with suppress(OSError, ValueError, TypeError):
            origin = Origin(**json.loads(_note(self.place).read_text(encoding="utf-8")))
        return origin if origin and origin.url == url else None

    def remember(self, origin: Origin) -> None:
        """Note what it began as."""
        try:
            _note(self.place).write_text(json.dumps(asdict(origin)), encoding="utf-8")
        except OSError as error:
            raise _disk(self.path, error) from error

    def put_in_place(self) -> None:
        """Make it the whole file."""
        try:
            move_into_place(self.path, self.place)
        except OSError as error:
            raise _disk(self.place, error) from error
        _note(self.place).unlink(missing_ok=True)


@contextmanager
def open_part(place: Path) -> Iterator[Part]:
    """The part of the file that belongs at `place`, made where there is none; an empty one is not left behind.

    Raises UsageError where it cannot be written, or another process is at it.
    """
    path = _path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)  # so that what is written is there, and a full disk tells at once
    except OSError as error:
        raise _disk(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            alone = False
        except OSError:
            alone = True  # a file system that has no locks
        if not alone:
            raise UsageError(f"{path}: another process is fetching it; wait for that one, then run again")
        part = Part(place, file)
        try:
            yield part
        finally:
            if not len(part):
                path.unlink(missing_ok=True)
                _note(place).unlink(missing_ok=True)


def _path(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def _note(place: Path) -> Path:
    return place.with_name(f"{place.name}.origin.part")


def _disk(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be written: {error.strerror}; make room, or give another --out")
