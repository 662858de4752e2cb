"""Exchange the names of two files or folders in one step, so that there is no moment without either."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_SYSCALLS = {"x86_64": 316, "aarch64": 276}  # renameat2, for a libc without it (glibc before 2.28)
# Old kernels, file systems without it (NFS, some FUSE), and sandboxes that forbid it.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names on one file system, whatever they name; both must exist.

    Returns:
        Whether it was done: False where the system or the file system cannot, and nothing has changed.

    Raises:
        OSError: it failed for another reason; nothing has changed.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@cache
def _renameat2() -> Any:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        arguments: list[Any] = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        if hasattr(libc, "renameat2"):
            libc.renameat2.argtypes = arguments
            return libc.renameat2
        number = _SYSCALLS.get(platform.machine())
        if number is None or platform.system() != "Linux":
            return None
        libc.syscall.argtypes = [ctypes.c_long, *arguments]
        return lambda *values: libc.syscall(number, *values)
    except (OSError, AttributeError):
        return None
