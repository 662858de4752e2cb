"""The memory of a fake GPU: device blocks at addresses that are invalid on the host, and pinned host blocks."""

from __future__ import annotations

import bisect
import math

import numpy as np

UNSET, GONE = 0xFF, 0xDD  # what is in new and in freed memory: neither is zero by luck, and new floats are all NaN
GAP = 1 << 16  # between blocks, so that one byte past the end is nobody's
LARGE = 1 << 24  # bytes: from here on the host is not made to fill them
ALIGNMENT = 512  # cuMemAlloc aligns "suitably for any kind of variable"; GPUs give 256 or 512


class Fault(Exception):  # noqa: N818
    """An error code of a driver function: its name without CUDA_ERROR_."""


class Block:
    """One allocation. `history` lists the work that accessed it: (stream, sequence, first, end, writes)."""

    def __init__(self, kind, context, address, nbytes, device_address):
        self.kind, self.context, self.address, self.nbytes = kind, context, address, nbytes
        self.device_address = device_address  # None: the GPU cannot reach it
        self.data = np.full(nbytes, UNSET, np.uint8) if nbytes < LARGE else np.zeros(nbytes, np.uint8)
        self.freed = False
        self.history = []


class Memory:
    """All blocks ever allocated: no address is reused, so that use after free is detected."""

    def __init__(self):
        self.blocks = []
        self._starts, self._by_start = [], {}  # of what the GPU reaches
        self._next = 0x7F00_0000_0000

    def new(self, kind, context, nbytes, mapped=False):
        block = Block(kind, context, self._next, nbytes, self._next)
        if kind == "pinned":
            block.address = block.data.ctypes.data
            # A mapped block's two addresses may differ, says cuMemHostGetDevicePointer: here they always do.
            block.device_address = self._next if mapped else None
        if block.device_address is not None:
            bisect.insort(self._starts, self._next)
            self._by_start[self._next] = block
        self._next += -(-nbytes // ALIGNMENT) * ALIGNMENT + GAP
        self.blocks.append(block)
        return block

    def free(self, block):
        block.freed = True
        if block.kind == "device":
            block.data = block.data[:0].copy()  # nothing of ours looks into it
        block.data[:] = GONE

    def whose(self, address):
        """Return the block at a device address, or host address of pinned memory; None for none."""
        place = bisect.bisect_right(self._starts, address)
        block = self._by_start[self._starts[place - 1]] if place else None
        if block and address < block.device_address + block.nbytes:
            return None if block.freed else block
        return self._pinned(address)

    def _pinned(self, address):
        there = (each for each in self.blocks if each.kind == "pinned" and not each.freed)
        return next((each for each in there if each.address <= address < each.address + each.nbytes), None)

    def on_device(self, address, nbytes):
        """Return (block, first byte, end) of a range of device addresses. Raises Fault."""
        place = bisect.bisect_right(self._starts, address)
        block = self._by_start[self._starts[place - 1]] if place else None
        first = address - block.device_address if block else 0
        if block is None or nbytes < 1 or first + nbytes > block.nbytes:
            raise Fault(f"ILLEGAL_ADDRESS: the GPU has no memory of {nbytes} bytes at {address:#x}")
        if block.freed:
            raise Fault(f"ILLEGAL_ADDRESS: the memory at {address:#x} is freed")
        return block, first, first + nbytes

    def on_host(self, address, nbytes):
        """Return the same for pinned memory, by its host address. Raises Fault."""
        block = self._pinned(address)
        if block is None or nbytes < 1 or address + nbytes > block.address + block.nbytes:
            raise Fault(f"INVALID_VALUE: no {nbytes} bytes of pinned memory at {address:#x}")
        return block, address - block.address, address - block.address + nbytes

    def array(self, address, shape, dtype):
        """Return the content of device memory, for tests to read and write without synchronization."""
        block, first, end = self.on_device(address, math.prod(shape) * np.dtype(dtype).itemsize)
        return block.data[first:end].view(dtype).reshape(shape)

    def written_after_free(self):
        return [each for each in self.blocks if each.freed and (each.data != GONE).any()]


class Window:
    """The memory that a piece of work may access: the ranges that it declared."""

    def __init__(self, memory, reads, writes):
        self._memory, self._reads, self._writes = memory, reads, writes

    def array(self, address, shape, dtype):
        """Return an array in device memory, read-only unless the work declared that it writes there."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        array = self._memory.array(address, shape, dtype)
        if not _inside(address, nbytes, self._writes):
            if not _inside(address, nbytes, self._reads):
                raise Fault(f"ILLEGAL_ADDRESS: work touches {address:#x}, which it did not name")
            array.flags.writeable = False
        return array


def _inside(address, nbytes, parts):
    return any(start <= address and address + nbytes <= start + size for start, size in parts)
