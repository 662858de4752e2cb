"""Where an output really goes: what a symbolic link leads to, and what is written directly, as it is not replaced."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

_DESCRIPTOR = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd/(\d+)")  # what /dev/stdout and /dev/fd/1 lead to
_MAX_LINKS = 40  # Linux's limit


class OutputPath(NamedTuple):
    """A path to write to."""

    path: Path  # no symbolic link; it may not exist yet
    direct: bool  # a pipe, a device, or a file that is open already: a rename would put another in its place
    descriptor: int | None  # of this process, where the path names one

    def open(self) -> IO[bytes]:
        """Open it for writing, unbuffered; an open file goes on where it stands, as behind `>>`."""
        if self.descriptor is not None:
            return os.fdopen(os.dup(self.descriptor), "wb", buffering=0)
        return self.path.open("wb", buffering=0)


def is_stdout(path: Path) -> bool:
    """Return whether a path names the standard output, as /dev/stdout does."""
    with suppress(OSError):
        return follow_links(path).descriptor == 1
    return False


def follow_links(path: Path) -> OutputPath:
    """Return where an output goes; raises OSError for links that lead to each other."""
    for _ in range(_MAX_LINKS):
        folder = Path(os.path.realpath(path.parent))
        if match := _DESCRIPTOR.fullmatch(str(folder / path.name)):
            return OutputPath(path, True, int(match[2]) if int(match[1]) == os.getpid() else None)
        if not path.is_symlink():
            return OutputPath(path, path.exists() and not path.is_file() and not path.is_dir(), None)
        path = folder / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
