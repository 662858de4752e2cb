"""Blocks of memory for several tensors: on the GPU alone, or on the GPU and mirrored in pinned memory."""

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


class MirroredBuffers(DeviceBuffers):
    """Tensors in one block on the GPU and in one of pinned memory, copied either way. Both begin as zeros."""

    def __init__(self, resources: Resources, tensors: TensorSizes) -> None:
        super().__init__(resources, tensors)
        self._gpu = resources.gpu
        self._host: HostBuffer = resources.gpu.host_buffer((self.layout.nbytes,), np.uint8)
        self._host.array.fill(0)

    def pinned(self, name: str, shape: Shape | None = None) -> HostBuffer:
        """Return a tensor in pinned memory, or as much of it as `shape`."""
        return self._host.view(*self.layout.locate(name, shape))

    def array(self, name: str, shape: Shape | None = None) -> np.ndarray:
        """Return a tensor in pinned memory as an array: a view, overwritten by the next download."""
        return self.pinned(name, shape).array

    def upload(self, stream: Stream, name: str | None = None, shape: Shape | None = None) -> None:
        """Enqueue the copy to the GPU of the whole block, or of one tensor, or of as much of that as `shape`."""
        if name is None:
            self._gpu.copy(self.device, self._host, stream)
        else:
            self._gpu.copy(self.device_array(name, shape), self.pinned(name, shape), stream)

    def download(self, stream: Stream) -> None:
        """Enqueue the copy of the whole block from the GPU."""
        self._gpu.copy(self._host, self.device, stream)

    def close(self) -> None:
        super().close()
        self._host.close()
