"""Frames in memory that the capture process shares with its parent: it writes a slot, the parent reads and releases it.

The memory is one nameless file, which both map. It grows where frames do; the slots before it are given up then.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile
import threading
from contextlib import suppress

import numpy as np

# One that is written, one that the parent copies, one that waits for it, and one on its way between the two.
SLOTS = 4


def create_memory() -> int:
    """Return the descriptor of an empty file in memory, where the system has them, else of a nameless one."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("nanoseg-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # a map beyond the end is a crash
        return descriptor
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class FrameSlots:
    """The slots, in the process that writes them."""

    def __init__(self, descriptor: int) -> None:
        """Use the memory of a descriptor, which stays open."""
        self._descriptor = descriptor
        self._slot_bytes = 0
        self._map: mmap.mmap | None = None
        self._lock = threading.Lock()
        self._free: set[int] = set()  # offsets
        self._used: dict[int, int] = {}  # bytes, by offset

    def write(self, image: np.ndarray) -> tuple[int, np.ndarray] | None:
        """Copy a frame into a free slot.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            The slot's offset, and the frame in it, (H, W, 3) uint8, valid until it is released; None where no slot is
            free.
        """
        with self._lock:
            if image.nbytes > self._slot_bytes:
                self._grow(image.nbytes)
            if not self._free or self._map is None:
                return None
            offset = self._free.pop()
            self._used[offset] = self._slot_bytes
        pixels = np.frombuffer(self._map, np.uint8, image.size, offset).reshape(image.shape)
        np.copyto(pixels, image)
        return offset, pixels

    def release(self, offset: int) -> None:
        """Take back a slot that the parent has read; called from any thread."""
        with self._lock:
            size = self._used.pop(offset, 0)
            if size == self._slot_bytes:
                self._free.add(offset)
            elif size:
                self._give_up(offset, size)

    def _grow(self, frame_bytes: int) -> None:
        end = os.fstat(self._descriptor).st_size
        for offset in self._free:
            self._give_up(offset, self._slot_bytes)
        self._slot_bytes = -(-frame_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(self._descriptor, end + SLOTS * self._slot_bytes)
        self._map = mmap.mmap(self._descriptor, 0)
        self._free = {end + index * self._slot_bytes for index in range(SLOTS)}

    def _give_up(self, offset: int, size: int) -> None:
        """Return a slot's memory to the system, where it takes a part of it."""
        if self._map is not None and hasattr(mmap, "MADV_REMOVE"):
            with suppress(OSError):
                self._map.madvise(mmap.MADV_REMOVE, offset, size)


class SlotReader:
    """The slots, in the process that reads them."""

    def __init__(self) -> None:
        """Create the memory; `descriptor` is for the process that writes it."""
        self.descriptor = create_memory()
        self._map: mmap.mmap | None = None

    def view(self, offset: int, height: int, width: int) -> np.ndarray:
        """Return the frame in a slot, (height, width, 3) uint8, read-only, valid until the slot is released.

        Raises:
            ValueError: there is none.
        """
        end = offset + height * width * 3
        if min(offset, height - 1, width - 1) < 0 or end > os.fstat(self.descriptor).st_size:
            raise ValueError(f"no frame of {width} x {height} at {offset}")
        if self._map is None or end > len(self._map):
            self._map = mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ)
        return np.frombuffer(self._map, np.uint8, height * width * 3, offset).reshape(height, width, 3)

    def close(self) -> None:
        """Close the memory; frames that were viewed stay valid."""
        self._map = None
        os.close(self.descriptor)
