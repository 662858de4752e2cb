"""Open and read regular files only, with the system's errors: a FIFO never blocks, a device is never read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a FIFO, wanted a file",
    stat.S_IFSOCK: "it is a socket, wanted a file",
    stat.S_IFCHR: "it is a device, wanted a file",
    stat.S_IFBLK: "it is a device, wanted a file",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading, without waiting for anybody.

    Raises:
        OSError: it cannot be opened, or is a folder, FIFO, socket or device; `strerror` says which.
    """
    _check_kind(path, os.stat(path).st_mode)  # opening a device may already have an effect
    # Between the two it may have been exchanged; O_NONBLOCK: a FIFO without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, max_bytes: int) -> bytes:
    """Return the content of a regular file of at most `max_bytes`.

    Raises:
        OSError: as from `open_regular`; or the file is larger, with EFBIG and a `strerror` that has both sizes.
    """
    with open_regular(path) as file:
        return read_at_most(file, max_bytes, path)


def read_at_most(file: BinaryIO, max_bytes: int, path: str | Path) -> bytes:
    """Return what is left of a file that `open_regular` opened; raises OSError as `read_regular` does."""
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes <= max_bytes:
        # A file may grow while it is read, and those of /proc have no size.
        data = file.read(max_bytes + 1)
        if len(data) <= max_bytes:
            return data
        size_bytes = len(data)
    raise OSError(errno.EFBIG, f"{size_bytes} bytes are more than the limit of {max_bytes}", os.fspath(path))


def _check_kind(path: str | Path, mode: int) -> None:
    if reason := _KINDS.get(stat.S_IFMT(mode)):
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, reason, os.fspath(path))
