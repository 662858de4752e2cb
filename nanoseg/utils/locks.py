"""Locks on the outputs of a run; the system drops them with the process, so a killed one leaves none."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from nanoseg.errors import UsageError


def lock_output(path: Path, name: Path, flag: str) -> int:
    """Open the file or folder `path` and lock it for this run.

    A file is created where it does not exist. File systems without locks count as unlocked.

    Args:
        path: what is locked: the output, or its temporary file.
        name: the output as the user knows it.
        flag: the flag that names it.

    Returns:
        The descriptor that holds the lock until it is closed.

    Raises:
        UsageError: another run holds the lock.
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
            raise UsageError(f"{name}: {_refusal(holder)}; give another {flag}") from None
        except OSError:
            return descriptor
        # The run that held it may have renamed or removed the file since it was opened here.
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _refusal(holder: int | None) -> str:
    if holder == os.getpid():
        return "is already an output of this run"
    who = "" if holder is None else f" (process {holder})"
    return f"another run{who} is writing to it; wait until that has ended"


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
