"""Tensors that lie together: in one block of the GPU's memory, in one of pinned memory, or in both alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer, size_of
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.tensorrt.context import ALIGNMENT, Shape
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import EngineError

Sides = Mapping[str, tuple[Shape, np.dtype]]  # the largest shape that a tensor may have, and its dtype


class Layout:
    """Where each tensor begins."""

    def __init__(self, sides: Sides) -> None:
        self._sides = dict(sides)
        self._starts: dict[str, int] = {}
        self.nbytes = 0
        for name, (shape, dtype) in self._sides.items():
            self._starts[name] = self.nbytes
            self.nbytes += -(-size_of(shape, dtype) // ALIGNMENT) * ALIGNMENT

    def place(self, name: str, shape: Shape | None) -> tuple[Shape, np.dtype, int]:
        """Shape, dtype and first byte; a smaller `shape` than the largest begins where that does."""
        largest, dtype = self._sides[name]
        return largest if shape is None else shape, dtype, self._starts[name]


class OnGpu(Layout):
    """A block on the GPU; it begins as zeros."""

    def __init__(self, resources: Resources, sides: Sides) -> None:
        super().__init__(sides)
        self.device: DeviceBuffer = resources.cleared(self.nbytes)

    def on_gpu(self, name: str, shape: Shape | None = None) -> DeviceArray:
        """A tensor, or as much of it as `shape` is."""
        return self.device.view(*self.place(name, shape))

    def close(self) -> None:
        """Free it; wait for the work on it before."""
        self.device.close()


class Mirrored(OnGpu):
    """A block on the GPU and one in pinned memory, which is copied to it or from it. Both begin as zeros."""

    def __init__(self, resources: Resources, sides: Sides) -> None:
        super().__init__(resources, sides)
        self._gpu = resources.gpu
        self._host: HostBuffer = resources.gpu.host_buffer((self.nbytes,), np.uint8)
        self._host.array.fill(0)

    def pinned(self, name: str, shape: Shape | None = None) -> HostBuffer:
        """A tensor in pinned memory, or as much of it as `shape` is."""
        return self._host.view(*self.place(name, shape))

    def array(self, name: str, shape: Shape | None = None) -> np.ndarray:
        """The same as numpy sees it."""
        return self.pinned(name, shape).array

    def upload(self, stream: Stream, name: str | None = None, shape: Shape | None = None) -> None:
        """Let `stream` copy all of it to the GPU, or one tensor, or as much of that as `shape` is."""
        if name is None:
            self._gpu.copy(self.device, self._host, stream)
        else:
            self._gpu.copy(self.on_gpu(name, shape), self.pinned(name, shape), stream)

    def download(self, stream: Stream) -> None:
        """Let `stream` copy all of it from the GPU."""
        self._gpu.copy(self._host, self.device, stream)

    def close(self) -> None:
        super().close()
        self._host.close()


def fixed_outputs(engines: Iterable[TrtEngine]) -> Sides:
    """The outputs of engines that give the same shapes whatever they are fed; raises EngineError for another."""
    sides = {}
    for engine in engines:
        for name, spec in engine.outputs.items():
            shape = tuple(side for side in spec.shape if side is not None)
            if len(shape) < len(spec.shape):
                raise EngineError(f"{engine.name}: '{name}' wants one shape alone, got {spec}; make the bundle anew")
            sides[name] = shape, spec.dtype
    return sides
