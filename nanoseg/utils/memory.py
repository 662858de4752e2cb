"""Memory of processes."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path


def resident_mb(pid: int | None = None) -> float:
    """Return the resident set size of a process, None: of this one, in MB; 0 where /proc does not tell."""
    try:
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def settled_mb() -> float:
    """Return `resident_mb` without what the allocator keeps of freed memory, which is given back to the system."""
    give_back()
    return resident_mb()


def give_back() -> None:
    """Give what the allocator keeps of freed memory back to the system: a few milliseconds."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
