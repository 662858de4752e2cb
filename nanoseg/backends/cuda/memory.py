"""Device memory, pinned host memory, and arrays in either, including those of other libraries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from nanoseg.backends.cuda.driver import Driver, DriverResource, closed_error
from nanoseg.backends.cuda.stream import Stream
from nanoseg.errors import EngineError, one_line

_LEGACY_STREAM = 1  # in __cuda_array_interface__, and in CUDA
_VERSION_WITH_STREAM = 3  # of __cuda_array_interface__


class _PinnedBlock(DriverResource):
    """A block of pinned host memory; numpy arrays that view it keep it alive."""

    def __init__(self, driver: Driver, nbytes: int, mapped: bool) -> None:
        super().__init__(driver.allocate_host(nbytes, mapped), driver.free_host)
        self.device_address = driver.mapped_address(self.value) if mapped else None
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (self.value, False), "version": 3}


class HostBuffer:
    """An array in pinned host memory, which is copied to and from the GPU asynchronously."""

    def __init__(self, block: _PinnedBlock, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype, self.nbytes = shape, dtype, size_of(shape, dtype)
        self._offset = offset
        self._block: _PinnedBlock | None = block
        self._array: np.ndarray | None = np.asarray(block)[offset : offset + self.nbytes].view(dtype).reshape(shape)
        self._address = int(block.value) + offset

    def __repr__(self) -> str:
        return f"HostBuffer({self.dtype.name} {self.shape})"

    @classmethod
    def allocate(cls, driver: Driver, shape: Sequence[int], dtype: DTypeLike, mapped: bool) -> HostBuffer:
        """Allocate an array in a block of its own; `mapped`: the GPU can access it directly."""
        dims, dtype = tuple(shape), np.dtype(dtype)
        return cls(_PinnedBlock(driver, _check_size(size_of(dims, dtype), "HostBuffer"), mapped), 0, dims, dtype)

    @property
    def array(self) -> np.ndarray:
        """The array, a view of the pinned memory: write into it, and never replace it by another.

        Wait before you read what the GPU writes. The memory of a closed buffer is freed with its last view.
        """
        if self._array is None:
            raise closed_error("HostBuffer")
        return self._array

    @property
    def address(self) -> int:
        """The host address."""
        self._open()
        return self._address

    @property
    def device_address(self) -> int:
        """The device address; raises EngineError unless it is mapped."""
        start = self._open().device_address
        if start is None:
            raise EngineError("HostBuffer: it has no device address: allocate it with mapped=True")
        return start + self._offset

    def view(self, shape: Sequence[int], dtype: DTypeLike, offset: int = 0) -> HostBuffer:
        """Return an array in the same memory, `offset` bytes in; the memory stays while either is open."""
        dims, dtype = tuple(shape), np.dtype(dtype)
        _check_view(dims, dtype, offset, self.nbytes)
        return HostBuffer(self._open(), self._offset + offset, dims, dtype)

    def close(self) -> None:
        """Release the memory: it is freed now, or with its last view. May be called twice."""
        self._array = self._block = None

    def __enter__(self) -> HostBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> _PinnedBlock:
        if self._block is None:
            raise closed_error("HostBuffer")
        return self._block


class DeviceBuffer(DriverResource):
    """A block of device memory."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        super().__init__(driver.allocate_device(_check_size(nbytes, "DeviceBuffer")), driver.free_device)
        self.nbytes = nbytes

    def __repr__(self) -> str:
        return f"DeviceBuffer({self.nbytes} bytes)"

    @property
    def address(self) -> int:
        """The device address."""
        return int(self.value)

    def view(self, shape: Sequence[int], dtype: DTypeLike, offset: int = 0) -> DeviceArray:
        """Return an array in it, `offset` bytes in, valid until close(). Raises EngineError where it does not fit."""
        dims, dtype = tuple(shape), np.dtype(dtype)
        _check_view(dims, dtype, offset, self.nbytes)
        return DeviceArray(self.address + offset, dims, dtype, self)


class DeviceArray:
    """A C-contiguous array in device memory; it keeps a reference to its owner, and is valid while that is open."""

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: object, stream: int | None = None
    ) -> None:
        self.shape, self.dtype, self.nbytes = shape, dtype, size_of(shape, dtype)
        self.owner = owner
        self._address, self._stream = address, stream

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype.name} {self.shape})"

    @property
    def address(self) -> int:
        """The device address."""
        if isinstance(self.owner, DeviceBuffer):
            _ = self.owner.address  # raises once that is closed
        return self._address

    def with_stream(self, stream: Stream) -> DeviceArray:
        """Return the same array for another library, which is to wait for `stream` before it reads."""
        return DeviceArray(self.address, self.shape, self.dtype, self.owner, stream.handle)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html."""
        data = (self.address, False)
        interface = {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": None}
        return {**interface, "stream": self._stream, "version": 3}


class ForeignArray(NamedTuple):
    """Another library's array on the GPU."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    stream: int | None  # handle of the stream that writes its content; None where that is complete


def read_cuda_array_interface(obj: Any) -> ForeignArray:
    """Read the __cuda_array_interface__ of a C-contiguous array; raises EngineError for anything else.

    https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html. Before version 3 it names no stream: torch,
    which implements one of those, works on the legacy default stream by default, so that one is waited for.
    """
    name = type(obj).__name__
    try:
        interface = getattr(obj, "__cuda_array_interface__", None)
    except Exception as error:  # torch raises for a tensor that requires a gradient
        raise EngineError(f"{name}: its __cuda_array_interface__ cannot be read: {one_line(error)}") from error
    if interface is None:
        raise EngineError(f"{name}: wanted an array on the GPU, with __cuda_array_interface__; this has none")
    try:
        shape = tuple(int(dim) for dim in interface["shape"])
        dtype = np.dtype(interface["typestr"])
        address = int(interface["data"][0])
        strides, version = interface.get("strides"), int(interface["version"])
        stream = interface.get("stream") if version >= _VERSION_WITH_STREAM else _LEGACY_STREAM
        masked = interface.get("mask") is not None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(f"{name}: its __cuda_array_interface__ is broken: {error!r}") from error
    if masked:
        raise EngineError(f"{name}: wanted a plain array, got a masked one")
    if strides is not None and not _is_contiguous(shape, tuple(strides), dtype.itemsize):
        raise EngineError(
            f"{name}: wanted a C-contiguous array, got strides {tuple(strides)} for {dtype.name} {shape}; "
            "copy it into one before: contiguous() of torch, ascontiguousarray() of cupy"
        )
    if not address or 0 in shape:
        raise EngineError(f"{name}: it is empty: {dtype.name} {shape}")
    if stream == 0:
        raise EngineError(f"{name}: its stream is 0, which the interface forbids: legacy is 1, per thread 2")
    return ForeignArray(address, shape, dtype, stream)


def size_of(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the bytes of a contiguous array."""
    return math.prod(shape) * dtype.itemsize


def _check_size(nbytes: int, name: str) -> int:
    if nbytes < 1:
        raise EngineError(f"{name}: wanted at least 1 byte, got {nbytes}")
    return nbytes


def _check_view(shape: tuple[int, ...], dtype: np.dtype, offset: int, room: int) -> None:
    size = size_of(shape, dtype)
    if size < 1 or offset < 0 or offset + size > room or offset % dtype.itemsize:
        raise EngineError(
            f"no {dtype.name} {shape} at byte {offset} of {room}: it takes {size} bytes, "
            f"and starts at a multiple of {dtype.itemsize}"
        )


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    step = itemsize
    for dim, stride in zip(reversed(shape), reversed(strides), strict=True):
        if dim != 1 and stride != step:
            return False
        step *= dim
    return True
