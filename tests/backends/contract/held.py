"""What is held at a moment: by this process, and by a Gpu."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from typing import NamedTuple

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.memory import DeviceBuffer, HostBuffer

STATM = Path("/proc/self/statm")


class Held(NamedTuple):
    """By this process."""

    blocks: int  # of Python's own allocator: an object takes one or more, and its data another, or none where large
    resident: int  # bytes of everything; 0 where the system does not tell

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        resident = int(STATM.read_text().split()[1]) * resource.getpagesize() if STATM.exists() else 0
        return cls(sys.getallocatedblocks(), resident)


def held_by(gpu: Gpu) -> tuple[int, int]:
    """Bytes on the GPU, and in pinned memory, that it made and did not free yet: its own words, on a real one too."""
    there = [each for each in gpu._resources if not isinstance(each, DeviceBuffer) or each._finalizer.alive]
    pinned = (each for each in there if isinstance(each, HostBuffer) and each._block is not None)
    return sum(each.nbytes for each in there if isinstance(each, DeviceBuffer)), sum(each.nbytes for each in pinned)
