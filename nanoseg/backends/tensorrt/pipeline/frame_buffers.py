"""Where frames of one size lie for prepare's engine: in pinned memory, copied from there, or wherever on the GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.tensorrt.context import ALIGNMENT, TrtContext
from nanoseg.backends.tensorrt.pipeline.buffers import OnGpu, fixed_outputs
from nanoseg.backends.tensorrt.pipeline.frame_sizes import FrameSizes
from nanoseg.backends.tensorrt.pipeline.resources import Resources

TRIAL_HW = (720, 1280)  # a mapped frame is compared with a copied one of this size
UNCOUNTED, TRIALS = 10, 5


class Place(ABC):
    """Where a frame is put; what is made of it for the networks goes to the same block each time."""

    borrows = False  # whether a frame is read where its owner has it

    @abstractmethod
    def put(self, pixels: Any) -> None:
        """Take a frame; the GPU is done with the one before."""

    @abstractmethod
    def prepare(self) -> None:
        """Let the stream of the detector bring the networks' inputs to the block, for the frame that was put here."""

    @abstractmethod
    def close(self) -> None:
        """Free it; its work is to be waited for before."""


class _OfEngine(Place):
    """Frames of one size, which prepare's engine was built for; see FrameSizes."""

    def __init__(self, resources: Resources, outputs: OnGpu, frame_hw: tuple[int, int]) -> None:
        self._resources, self.shape = resources, (1, *frame_hw, 3)
        self._context: TrtContext = resources.context("prepare")
        self._context.set_shape("frame", self.shape)
        for name in resources.engines["prepare"].outputs:
            self._context.bind(name, outputs.on_gpu(name))

    def close(self) -> None:
        self._context.close()


class Pinned(_OfEngine):
    """Frames of the host. `mapped`: the GPU reads them in pinned memory; else they are copied to its own."""

    def __init__(self, resources: Resources, outputs: OnGpu, frame_hw: tuple[int, int], mapped: bool) -> None:
        super().__init__(resources, outputs, frame_hw)
        # Not cleared: whatever lies there is a picture.
        self._host: HostBuffer = resources.gpu.host_buffer(self.shape, np.uint8, mapped)
        self._device: DeviceBuffer | None = None if mapped else resources.gpu.device_buffer(self._host.nbytes)
        self._copied = resources.gpu.event()
        frame = self._host if self._device is None else self._device.view(self.shape, np.uint8)
        self._context.bind("frame", frame)
        self._prepare = resources.captured("prepare", resources.detect, self._context.enqueue, self._context)

    def put(self, pixels: Any) -> None:
        np.copyto(self._host.array[0], pixels)

    def prepare(self) -> None:
        if self._device is not None:
            self._resources.gpu.copy(self._device, self._host, self._resources.copy)
            self._copied.record(self._resources.copy)
            self._resources.detect.wait(self._copied)
        self._prepare.launch()

    def close(self) -> None:
        self._prepare.close()
        super().close()
        self._copied.close()
        self._host.close()
        if self._device is not None:
            self._device.close()


class Resident(_OfEngine):
    """Frames that lie on the GPU, used where they are: each somewhere else, so that no graph can hold them.

    TensorRT takes an address only if it is a multiple of ALIGNMENT. A frame at another one, the lower half of a picture
    for one, is copied to memory of the place's own.
    """

    borrows = True

    def __init__(self, resources: Resources, outputs: OnGpu, frame_hw: tuple[int, int]) -> None:
        super().__init__(resources, outputs, frame_hw)
        self._own: DeviceBuffer | None = None  # made when it is first needed

    def put(self, pixels: Any) -> None:
        gpu, stream = self._resources.gpu, self._resources.detect
        array = gpu.wrap(pixels, stream)
        frame = DeviceArray(
            array.address, self.shape, array.dtype, None
        )  # whoever gave it holds it until it is prepared
        if frame.address % ALIGNMENT:
            if self._own is None:
                self._own = gpu.device_buffer(frame.nbytes)
            theirs, frame = frame, self._own.view(self.shape, array.dtype)
            gpu.copy(frame, theirs, stream)
        self._context.bind("frame", frame)

    def prepare(self) -> None:
        self._context.enqueue(self._resources.detect)

    def close(self) -> None:
        super().close()
        if self._own is not None:
            self._own.close()


def reads_mapped_faster(resources: Resources) -> bool:
    """Whether a frame in mapped memory is sooner prepared on this GPU than one that is copied first: it is tried.

    Where host and device do not share their memory it is not.
    """
    if not resources.gpu.integrated:
        return False
    spent_ms = _trials_ms(resources)
    return spent_ms[True] < spent_ms[False]


def _trials_ms(resources: Resources) -> dict[bool, float]:
    """The least of several times from a frame in pinned memory to one prepared, mapped and copied.

    They take turns, after some that do not count: a GPU that was idle is slow at first, whatever it does.
    """
    engine = resources.engines["prepare"]
    height, width = FrameSizes.of(engine).nearest(TRIAL_HW)
    outputs = OnGpu(resources, fixed_outputs([engine]))
    places = {mapped: Pinned(resources, outputs, (height, width), mapped) for mapped in (True, False)}
    began, ended = (resources.gpu.event(timing=True) for _ in range(2))
    for place in places.values():
        place.put(np.zeros((height, width, 3), np.uint8))
    least_ms = dict.fromkeys(places, float("inf"))
    for trial in range(UNCOUNTED + TRIALS):
        for mapped, place in places.items():
            began.record(resources.detect)
            place.prepare()
            ended.record(resources.detect)
            ended.synchronize()
            if trial >= UNCOUNTED:
                least_ms[mapped] = min(least_ms[mapped], ended.ms_since(began))
    for close in (*(place.close for place in places.values()), outputs.close, began.close, ended.close):
        close()
    return least_ms
