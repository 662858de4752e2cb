"""The protocol of everything that runs one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from nanoseg.errors import EngineError


class TensorSpec(NamedTuple):
    """What an engine takes or gives under one name; None is a side that may vary."""

    dtype: np.dtype
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return _spell(self.dtype, tuple("any" if side is None else side for side in self.shape))


class Engine(Protocol):
    """One network on one device."""

    name: str  # for messages: its file's name
    device: str  # for people: "CPU, 2 threads"
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name, in arrays of the caller's own; raises EngineError for feeds that do not fit."""

    def close(self) -> None:
        """Free what it holds; it cannot run afterwards. May be called twice."""


def check_feeds(name: str, inputs: Mapping[str, TensorSpec], feeds: Mapping[str, np.ndarray]) -> None:
    """Raise EngineError, naming engine and tensor, unless `feeds` are exactly what `inputs` want."""
    for tensor, spec in inputs.items():
        array = feeds.get(tensor)
        if array is None:
            raise EngineError(f"{name}: '{tensor}' wants {spec}, got nothing; it was fed {', '.join(feeds) or 'none'}")
        fits = array.dtype == spec.dtype and len(array.shape) == len(spec.shape)
        if not fits or any(want is not None and want != got for want, got in zip(spec.shape, array.shape, strict=True)):
            raise EngineError(f"{name}: '{tensor}' wants {spec}, got {_spell(array.dtype, array.shape)}")
    if len(feeds) != len(inputs):
        extra = ", ".join(sorted(feeds.keys() - inputs.keys()))
        raise EngineError(f"{name}: has no input {extra}; its inputs are {', '.join(inputs)}")


def _spell(dtype: np.dtype, shape: tuple[object, ...]) -> str:
    sides = ", ".join(str(side) for side in shape)
    return f"{dtype.name} ({sides},)" if len(shape) == 1 else f"{dtype.name} ({sides})"
