"""Memory of a GPU, pinned memory of its host, and arrays in either: each block is freed by who owns it, once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nanoseg.backends.cuda.driver import Driver
from nanoseg.backends.cuda.owned import Owned, closed
from nanoseg.backends.cuda.stream import Stream
from nanoseg.errors import EngineError


class _Pinned(Owned):
    """A block of the host's memory that numpy can look into: an array that looks into it keeps it."""

    def __init__(self, driver: Driver, nbytes: int, mapped: bool) -> None:
        super().__init__(driver.new_host(nbytes, mapped), driver.free_host)
        self.mapped_at = driver.mapped_address(self.value) if mapped else None
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (self.value, False), "version": 3}


class HostBuffer:
    """An array in pinned memory of the host: it is copied to and from the GPU beside other work."""

    def __init__(self, block: _Pinned, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype, self.nbytes = shape, dtype, size_of(shape, dtype)
        self._offset = offset
        self._block: _Pinned | None = block
        self._array: np.ndarray | None = np.asarray(block)[offset : offset + self.nbytes].view(dtype).reshape(shape)

    @classmethod
    def make(cls, driver: Driver, shape: Sequence[int], dtype: DTypeLike, mapped: bool) -> HostBuffer:
        """An array with a block of its own; `mapped`: the GPU can also reach it where it lies."""
        sides, kind = tuple(shape), np.dtype(dtype)
        return cls(_Pinned(driver, _some(size_of(sides, kind), "HostBuffer"), mapped), 0, sides, kind)

    @property
    def array(self) -> np.ndarray:
        """The array, a view of the pinned memory: write into it, and never put another one in its place.

        What the GPU writes is to be read after a wait. The memory of a closed buffer stays until its last view goes.
        """
        if self._array is None:
            raise closed("HostBuffer")
        return self._array

    @property
    def address(self) -> int:
        """Where the host finds it."""
        return int(self._open().value) + self._offset

    @property
    def device_address(self) -> int:
        """Where the GPU finds it; raises EngineError unless it is mapped."""
        start = self._open().mapped_at
        if start is None:
            raise EngineError("HostBuffer: the GPU cannot reach it where it lies: make it with mapped=True")
        return start + self._offset

    def view(self, shape: Sequence[int], dtype: DTypeLike, offset: int = 0) -> HostBuffer:
        """An array in the same memory, `offset` bytes in; the memory stays while either is open."""
        sides, kind = tuple(shape), np.dtype(dtype)
        _check_part(sides, kind, offset, self.nbytes)
        return HostBuffer(self._open(), self._offset + offset, sides, kind)

    def close(self) -> None:
        """Let go of the memory: it is freed now, or when the last view of it goes. May be called twice."""
        self._array = self._block = None

    def __enter__(self) -> HostBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> _Pinned:
        if self._block is None:
            raise closed("HostBuffer")
        return self._block


class DeviceBuffer(Owned):
    """A block of the GPU's memory."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        super().__init__(driver.new_device(_some(nbytes, "DeviceBuffer")), driver.free_device)
        self.nbytes = nbytes

    @property
    def address(self) -> int:
        """Where the GPU finds it."""
        return int(self.value)

    def view(self, shape: Sequence[int], dtype: DTypeLike, offset: int = 0) -> DeviceArray:
        """An array in it, `offset` bytes in; valid until close(). Raises EngineError where it does not fit."""
        sides, kind = tuple(shape), np.dtype(dtype)
        _check_part(sides, kind, offset, self.nbytes)
        return DeviceArray(self.address + offset, sides, kind, self)


class DeviceArray:
    """A C-contiguous array in the GPU's memory. It keeps its owner, and is valid while that is open."""

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: object, stream: int | None = None
    ) -> None:
        self.shape, self.dtype, self.nbytes = shape, dtype, size_of(shape, dtype)
        self.owner = owner
        self._address, self._stream = address, stream

    @property
    def address(self) -> int:
        """Where the GPU finds it."""
        if isinstance(self.owner, DeviceBuffer):
            _ = self.owner.address  # an error once that is closed
        return self._address

    def after(self, stream: Stream) -> DeviceArray:
        """The same array, for another library: it tells that what it holds is made on `stream`."""
        return DeviceArray(self.address, self.shape, self.dtype, self.owner, stream.handle)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html."""
        data = (self.address, False)
        told = {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None}
        return {**told, "stream": self._stream, "version": 3}


def size_of(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Bytes of such an array."""
    return math.prod(shape) * dtype.itemsize


def _some(nbytes: int, what: str) -> int:
    if nbytes < 1:
        raise EngineError(f"{what}: wanted at least 1 byte, got {nbytes}")
    return nbytes


def _check_part(shape: tuple[int, ...], dtype: np.dtype, offset: int, room: int) -> None:
    size = size_of(shape, dtype)
    if size < 1 or offset < 0 or offset + size > room or offset % dtype.itemsize:
        raise EngineError(
            f"no {dtype.name} {shape} at byte {offset} of {room}: it takes {size} bytes, "
            f"and starts at a multiple of {dtype.itemsize}"
        )
