"""Locks on files and folders; the system drops them with the process, so a killed one leaves none.

Nothing waits for a lock without a word: a second process is refused, or told whom it waits for.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanoseg.errors import UsageError

_LOG = logging.getLogger("nanoseg")


class HeldError(Exception):
    """Another descriptor holds the lock: `process` is the number of its process, where the system tells."""

    def __init__(self, process: int | None) -> None:
        super().__init__()
        self.process = process

    @property
    def who(self) -> str:
        """` (process 4711)`, or nothing."""
        return "" if self.process is None else f" (process {self.process})"


def try_lock(path: Path) -> int:
    """Open the file or folder `path` and lock it at once.

    A file is created where it does not exist. File systems without locks count as unlocked.

    Returns:
        The descriptor that holds the lock until it is closed.

    Raises:
        HeldError: it is locked.
        OSError: it cannot be opened.
    """
    how = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    while True:
        descriptor = os.open(path, how | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise HeldError(holder) from None
        except OSError:
            return descriptor
        # The process that held it may have renamed or removed the file since it was opened here.
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def lock_output(path: Path, name: Path, flag: str) -> int:
    """Lock an output for this run, as `try_lock`.

    Args:
        path: what is locked: the output, or its temporary file.
        name: the output as the user knows it.
        flag: the flag that names it.

    Raises:
        UsageError: another run holds the lock.
        OSError: it cannot be opened.
    """
    try:
        return try_lock(path)
    except HeldError as held:
        refusal = f"another run{held.who} is writing to it; wait until that has ended"
        if held.process == os.getpid():
            refusal = "is already an output of this run"
        raise UsageError(f"{name}: {refusal}; give another {flag}") from None


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, created with its folder; whom it waits for is logged.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
        OSError: the file cannot be created, or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            _LOG.warning("%s: waiting for another process%s", path, HeldError(_holder(descriptor)).who)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    """Return the process that holds the lock, where the system tells."""
    inode = str(os.fstat(descriptor).st_ino)
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 08:01:1835010 0 EOF
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return int(words[4])
    return None
