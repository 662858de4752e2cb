"""Files that are written whole or not at all, by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from nanoseg.errors import EngineError


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Make the folder and hold the lock of a file in it; the system drops it with the process.

    Raises BlockingIOError where another holds it and `wait` is False, OSError where there can be none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(file)


def replace_all(contents: Mapping[Path, bytes]) -> None:
    """Write every file whole, under names that only the holder of the folder's lock uses, then rename them in order."""
    parts = {path.with_name(f".{path.name}.part"): path for path in contents}
    try:
        for part, path in parts.items():
            with part.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the new name and none of the content
        for part, path in parts.items():
            os.replace(part, path)
    except BaseException:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


def unwritable(path: Path, error: OSError, wants: str = "") -> EngineError:
    """What is raised where a disk or a folder will not do."""
    why = f"{error.strerror or error}{wants}"
    return EngineError(f"{path}: cannot be written: {why}; make room, or give another folder: --engines DIR")
