"""Frames that prepare's engine takes none of: they are prepared on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.backends.tensorrt.pipeline.buffers import OnGpu, fixed_outputs
from nanoseg.backends.tensorrt.pipeline.frame_buffers import Place
from nanoseg.backends.tensorrt.pipeline.resources import Resources

if TYPE_CHECKING:
    from nanoseg.processing.preprocess import Preparer


class PreparedOnHost(Place):
    """Frames of the host, of any size: OpenCV makes of them what prepare.onnx makes, and that is copied to the GPU.

    What is made has the same shapes whatever the frame's, so one place does for all sizes. It is slower than an engine
    that was built for them, but no camera and no photograph is refused.
    """

    def __init__(self, resources: Resources, outputs: OnGpu, preparer: Preparer) -> None:
        """`preparer` may be shared with other places: what it makes is copied before put() is back."""
        self._resources, self._preparer = resources, preparer
        sides = fixed_outputs([resources.engines["prepare"]])
        self._pinned = {name: resources.gpu.host_buffer(*side) for name, side in sides.items()}
        self._there = {name: outputs.on_gpu(name) for name in sides}

    def put(self, pixels: Any) -> None:
        prepared = self._preparer(pixels)
        made = {"images": prepared.images, "image": prepared.image, "geometry": prepared.geometry.vector()}
        for name, pinned in self._pinned.items():
            np.copyto(pinned.array, made[name], casting="same_kind")  # float16 where the networks compute in that

    def prepare(self) -> None:
        # In the stream of the detector, which has waited until the block may be written to.
        for name, pinned in self._pinned.items():
            self._resources.gpu.copy(self._there[name], pinned, self._resources.detect)

    def close(self) -> None:
        for pinned in self._pinned.values():
            pinned.close()
