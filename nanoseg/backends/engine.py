"""The protocol of an engine: one network on one device, with arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from nanoseg.errors import EngineError


class TensorSpec(NamedTuple):
    """Dtype and shape of an input or output; None is a dim that varies."""

    dtype: np.dtype
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return _format(self.dtype, tuple("any" if dim is None else dim for dim in self.shape))


class Engine(Protocol):
    """One network on one device. Calls may come from several threads."""

    name: str  # the file's name, for messages
    device: str  # description for people: "CPU, 2 threads"
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return all outputs by name, in arrays of the caller's own; raises EngineError for feeds that do not fit."""

    def close(self) -> None:
        """Free its resources; it cannot run afterwards. May be called twice."""


def check_feeds(name: str, inputs: Mapping[str, TensorSpec], feeds: Mapping[str, np.ndarray]) -> None:
    """Raise EngineError, naming engine and tensor, unless `feeds` match `inputs` exactly."""
    for tensor, spec in inputs.items():
        array = feeds.get(tensor)
        if array is None:
            raise EngineError(f"{name}: '{tensor}' wants {spec}, got nothing; it was fed {', '.join(feeds) or 'none'}")
        fits = array.dtype == spec.dtype and len(array.shape) == len(spec.shape)
        if not fits or any(want is not None and want != got for want, got in zip(spec.shape, array.shape, strict=True)):
            raise EngineError(f"{name}: '{tensor}' wants {spec}, got {_format(array.dtype, array.shape)}")
    if len(feeds) != len(inputs):
        extra = ", ".join(sorted(feeds.keys() - inputs.keys()))
        raise EngineError(f"{name}: has no input {extra}; its inputs are {', '.join(inputs)}")


def _format(dtype: np.dtype, shape: tuple[object, ...]) -> str:
    dims = ", ".join(str(dim) for dim in shape)
    return f"{dtype.name} ({dims},)" if len(shape) == 1 else f"{dtype.name} ({dims})"
