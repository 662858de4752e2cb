"""Preprocessing on the host, for frame sizes that prepare's engine does not take, and where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from nanoseg.backends.tensorrt.pipeline.buffers import DeviceBuffers
from nanoseg.backends.tensorrt.pipeline.frame_buffers import FrameBuffer
from nanoseg.backends.tensorrt.pipeline.memory_plan import prepared
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.processing.image import Pixels

if TYPE_CHECKING:
    from nanoseg.processing.preprocess import Preprocessor


class HostPreprocess(FrameBuffer):
    """Frames of the host, of any size: OpenCV computes the outputs of prepare.onnx, and they are uploaded.

    Those have the same shapes whatever the frame's, so one buffer does for all sizes. It is slower than an engine that
    was built for them, but no camera and no photograph is refused.
    """

    def __init__(self, resources: Resources, outputs: DeviceBuffers, preprocessor: Preprocessor) -> None:
        """Allocate pinned memory; `preprocessor` may be shared, as its outputs are copied before upload() returns."""
        self._resources, self._preprocessor = resources, preprocessor
        sizes = prepared(resources.engines)
        self._pinned = {name: resources.gpu.host_buffer(*size) for name, size in sizes.items()}
        self._device = {name: outputs.device_array(name) for name in sizes}

    def upload(self, pixels: Pixels) -> None:
        frame = self._preprocessor(cast(np.ndarray, pixels))
        arrays = {"images": frame.images, "image": frame.image, "geometry": frame.geometry.vector()}
        for name, pinned in self._pinned.items():
            np.copyto(pinned.array, arrays[name], casting="same_kind")  # float16 where the networks compute in that

    def preprocess(self) -> None:
        # In the stream of the detector, which has waited until the block may be written to.
        for name, pinned in self._pinned.items():
            self._resources.gpu.copy(self._device[name], pinned, self._resources.detect)

    def close(self) -> None:
        for pinned in self._pinned.values():
            pinned.close()
