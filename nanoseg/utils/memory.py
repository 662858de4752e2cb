"""Memory of this process."""

from __future__ import annotations

import os
from pathlib import Path


def resident_mb() -> float:
    """Return the resident set size in MB, 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
