"""Blocks of memory for several tensors: on the GPU alone, in pinned memory, or in both."""

from __future__ import annotations

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.tensorrt.context import Shape
from nanoseg.backends.tensorrt.pipeline.memory_plan import BlockLayout, TensorSizes
from nanoseg.backends.tensorrt.pipeline.resources import Resources


class DeviceBuffers:
    """Tensors in one block on the GPU, which begins as zeros."""

    def __init__(self, resources: Resources, tensors: TensorSizes) -> None:
        self.layout = BlockLayout(tensors)
        self.device: DeviceBuffer = resources.cleared(self.layout.nbytes)

    def device_array(self, name: str, shape: Shape | None = None) -> DeviceArray:
        """Return a tensor on the GPU, or as much of it as `shape`."""
        return self.device.view(*self.layout.locate(name, shape))

    def close(self) -> None:
        """Free the block, once the work on it has been waited for."""
        self.device.close()


class PinnedBuffers:
    """Tensors in one block of pinned memory, which begins as zeros; laid out as DeviceBuffers of the same tensors."""

    def __init__(self, resources: Resources, tensors: TensorSizes) -> None:
        self.layout = BlockLayout(tensors)
        self.host: HostBuffer = resources.gpu.host_buffer((self.layout.nbytes,), np.uint8)
        self.host.array.fill(0)
        self._arrays: dict[tuple[str, Shape | None], np.ndarray] = {}

    def pinned(self, name: str, shape: Shape | None = None) -> HostBuffer:
        """Return a tensor in pinned memory, or as much of it as `shape`."""
        return self.host.view(*self.layout.locate(name, shape))

    def array(self, name: str, shape: Shape | None = None) -> np.ndarray:
        """Return it as an array, made once for each shape: a view, overwritten by the next download."""
        key = name, shape
        if key not in self._arrays:
            self._arrays[key] = self.pinned(name, shape).array
        return self._arrays[key]

    def close(self) -> None:
        """Free the block, once the work on it has been waited for and no array of it is held."""
        self._arrays.clear()
        self.host.close()


class MirroredBuffers(DeviceBuffers):
    """Tensors in one block on the GPU and in one of pinned memory, copied either way. Both begin as zeros."""

    def __init__(self, resources: Resources, tensors: TensorSizes) -> None:
        super().__init__(resources, tensors)
        self._gpu, self._pinned = resources.gpu, PinnedBuffers(resources, tensors)

    def array(self, name: str) -> np.ndarray:
        """Return a tensor in pinned memory as an array: a view, overwritten by the next download."""
        return self._pinned.pinned(name).array

    def upload(self, stream: Stream) -> None:
        """Enqueue the copy of the whole block to the GPU."""
        self._gpu.copy(self.device, self._pinned.host, stream)

    def download(self, stream: Stream) -> None:
        """Enqueue the copy of the whole block from the GPU."""
        self._gpu.copy(self._pinned.host, self.device, stream)

    def close(self) -> None:
        super().close()
        self._pinned.close()
