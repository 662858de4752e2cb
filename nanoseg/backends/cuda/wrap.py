"""Arrays of other libraries that lie on the GPU: what their __cuda_array_interface__ tells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import EngineError, one_line

_LEGACY = 1  # the interface's number, and CUDA's, for the legacy default stream
_VERSION_WITH_STREAM = 3


class Wrapped(NamedTuple):
    """An array on the GPU; `stream` is the handle of the stream that makes what it holds, None where it is ready."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    stream: int | None


def read_interface(obj: Any) -> Wrapped:
    """What `obj` tells of itself; raises EngineError unless it is a C-contiguous array on a GPU.

    https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html. Before version 3 it tells no stream: torch,
    which is one of those, works on the legacy default stream unless told otherwise, so that one is waited for.
    """
    what = type(obj).__name__
    try:
        told = getattr(obj, "__cuda_array_interface__", None)
    except Exception as error:  # torch raises for a tensor that keeps its gradient
        raise EngineError(f"{what}: it does not tell where it lies: {one_line(error)}") from error
    if told is None:
        raise EngineError(f"{what}: wanted an array on the GPU, with __cuda_array_interface__; this has none")
    try:
        shape = tuple(int(side) for side in told["shape"])
        dtype = np.dtype(told["typestr"])
        address = int(told["data"][0])
        strides, version = told.get("strides"), int(told["version"])
        stream = told.get("stream") if version >= _VERSION_WITH_STREAM else _LEGACY
        masked = told.get("mask") is not None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(f"{what}: its __cuda_array_interface__ is broken: {error!r}") from error
    if masked:
        raise EngineError(f"{what}: wanted a plain array, got a masked one")
    if strides is not None and not _contiguous(shape, tuple(strides), dtype.itemsize):
        raise EngineError(
            f"{what}: wanted a C-contiguous array, got strides {tuple(strides)} for {dtype.name} {shape}; "
            "copy it into one before: contiguous() of torch, ascontiguousarray() of cupy"
        )
    if not address or 0 in shape:
        raise EngineError(f"{what}: it is empty: {dtype.name} {shape}")
    if stream == 0:
        raise EngineError(f"{what}: its stream is 0, which the interface forbids: legacy is 1, per thread 2")
    return Wrapped(address, shape, dtype, stream)


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    step = itemsize
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side != 1 and stride != step:
            return False
        step *= side
    return True
