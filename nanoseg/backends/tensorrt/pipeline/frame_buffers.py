"""Buffers of frames of one size for prepare's engine: pinned memory, uploaded or mapped, or an image on the GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.tensorrt.context import ALIGNMENT, TrtContext
from nanoseg.backends.tensorrt.pipeline.buffers import DeviceBuffers
from nanoseg.backends.tensorrt.pipeline.frame_sizes import FrameSizes
from nanoseg.backends.tensorrt.pipeline.memory_plan import fixed_outputs, frame_shape
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.processing.image import DeviceImage, Pixels

TRIAL_HW = (720, 1280)  # frame size of the comparison of mapped with uploaded frames
WARM_UP, TRIALS = 10, 5


class FrameBuffer(ABC):
    """Takes a frame, and preprocesses it to the same block of the networks' inputs each time."""

    borrows = False  # whether a frame is read in its owner's memory

    @abstractmethod
    def upload(self, pixels: Pixels) -> None:
        """Take a frame; the GPU is done with the one before."""

    @abstractmethod
    def preprocess(self) -> None:
        """Enqueue, on the stream of the detector, the preprocessing of the frame that was uploaded."""

    @abstractmethod
    def close(self) -> None:
        """Free it, once its work has been waited for."""


class _EngineFrameBuffer(FrameBuffer):
    """Frames of one size that prepare's engine was built for; see FrameSizes."""

    def __init__(self, resources: Resources, outputs: DeviceBuffers, frame_hw: tuple[int, int]) -> None:
        self._resources, self.shape = resources, frame_shape(frame_hw)
        self._context: TrtContext = resources.prepare_context(self.shape)
        for name in resources.engines["prepare"].outputs:
            self._context.bind(name, outputs.device_array(name))

    def close(self) -> None:
        self._context.close()


class HostFrameBuffer(_EngineFrameBuffer):
    """Frames of the host. `mapped`: the GPU reads them in pinned memory; else they are uploaded to its own."""

    def __init__(self, resources: Resources, outputs: DeviceBuffers, frame_hw: tuple[int, int], mapped: bool) -> None:
        super().__init__(resources, outputs, frame_hw)
        # Not cleared: any bytes are a valid picture.
        self._host: HostBuffer = resources.gpu.host_buffer(self.shape, np.uint8, mapped)
        self._device: DeviceBuffer | None = None if mapped else resources.gpu.device_buffer(self._host.nbytes)
        self._uploaded = resources.gpu.event()
        frame = self._host if self._device is None else self._device.view(self.shape, np.uint8)
        self._context.bind("frame", frame)
        self._graph = resources.captured("prepare", resources.detect, self._context.enqueue, self._context)

    def upload(self, pixels: Pixels) -> None:
        np.copyto(self._host.array[0], cast(np.ndarray, pixels))

    def preprocess(self) -> None:
        if self._device is not None:
            self._resources.gpu.copy(self._device, self._host, self._resources.copy)
            self._uploaded.record(self._resources.copy)
            self._resources.detect.wait(self._uploaded)
        self._graph.launch()

    def close(self) -> None:
        self._graph.close()
        super().close()
        self._uploaded.close()
        self._host.close()
        if self._device is not None:
            self._device.close()


class DeviceFrameBuffer(_EngineFrameBuffer):
    """Frames on the GPU, read in their owner's memory: each at another address, so that no graph can hold them.

    TensorRT takes an address only if it is a multiple of ALIGNMENT. A frame at another one, such as the lower half of a
    picture, is copied to memory of the buffer's own.
    """

    borrows = True

    def __init__(self, resources: Resources, outputs: DeviceBuffers, frame_hw: tuple[int, int]) -> None:
        super().__init__(resources, outputs, frame_hw)
        self._own: DeviceBuffer | None = None  # allocated when it is first needed

    def upload(self, pixels: Pixels) -> None:
        gpu, stream = self._resources.gpu, self._resources.detect
        array = gpu.wrap(cast(DeviceImage, pixels), stream)
        # It keeps no owner: the caller holds the image until it is preprocessed.
        frame = DeviceArray(array.address, self.shape, array.dtype, None)
        if frame.address % ALIGNMENT:
            if self._own is None:
                self._own = gpu.device_buffer(frame.nbytes)
            source, frame = frame, self._own.view(self.shape, array.dtype)
            gpu.copy(frame, source, stream)
        self._context.bind("frame", frame)

    def preprocess(self) -> None:
        self._context.enqueue(self._resources.detect)

    def close(self) -> None:
        super().close()
        if self._own is not None:
            self._own.close()


def reads_mapped_faster(resources: Resources) -> bool:
    """Return whether this GPU preprocesses a mapped frame sooner than one that is uploaded first, by measuring both.

    False without a measurement where host and device do not share their memory, and where the host preprocesses.
    """
    if not resources.gpu.integrated or "prepare" not in resources.engines:
        return False
    spent_ms = _trials_ms(resources)
    return spent_ms[True] < spent_ms[False]


def _trials_ms(resources: Resources) -> dict[bool, float]:
    """Return the minimum of several times from a frame in pinned memory to a preprocessed one, mapped and uploaded.

    They take turns, after a warm-up: a GPU that was idle is slow at first.
    """
    engine = resources.engines["prepare"]
    height, width = FrameSizes.of(engine).nearest(TRIAL_HW)
    outputs = DeviceBuffers(resources, fixed_outputs(engine.name, engine))
    buffers = {mapped: HostFrameBuffer(resources, outputs, (height, width), mapped) for mapped in (True, False)}
    began, ended = (resources.gpu.event(timing=True) for _ in range(2))
    for buffer in buffers.values():
        buffer.upload(np.zeros((height, width, 3), np.uint8))
    minimum_ms = dict.fromkeys(buffers, float("inf"))
    for trial in range(WARM_UP + TRIALS):
        for mapped, buffer in buffers.items():
            began.record(resources.detect)
            buffer.preprocess()
            ended.record(resources.detect)
            ended.synchronize()
            if trial >= WARM_UP:
                minimum_ms[mapped] = min(minimum_ms[mapped], ended.ms_since(began))
    for close in (*(buffer.close for buffer in buffers.values()), outputs.close, began.close, ended.close):
        close()
    return minimum_ms
