"""Where frames of one size lie for prepare: in pinned memory, copied from there, or wherever on the GPU they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.trt.context import Shape, TrtContext
from nanoseg.backends.trt_chain.blocks import OnGpu, fixed_outputs
from nanoseg.backends.trt_chain.captures import Captured
from nanoseg.backends.trt_chain.rig import Rig
from nanoseg.errors import EngineError

TRIAL_HW = (720, 1280)  # a mapped frame is compared with a copied one of this size
TRIALS = 5


class Place(ABC):
    """Frames of one size; what prepare makes of them goes to `outputs`, always the same."""

    def __init__(self, rig: Rig, outputs: OnGpu, frame_hw: tuple[int, int]) -> None:
        """Raises EngineError for a size that the engine was not built for."""
        self._rig, self.shape = rig, (1, *frame_hw, 3)
        engine = rig.engines["prepare"]
        least, most = engine.smallest("frame"), engine.largest("frame")
        if not all(low <= side <= high for low, side, high in zip(least, self.shape, most, strict=True)):
            raise EngineError(f"{engine.name}: {_does_not_fit(frame_hw, least[1:3], most[1:3])}")
        self._context: TrtContext = rig.context("prepare")
        self._context.set_shape("frame", self.shape)
        for name in engine.outputs:
            self._context.bind(name, outputs.on_gpu(name))

    @abstractmethod
    def put(self, pixels: Any) -> None:
        """Take a frame; the GPU is done with the one before."""

    @abstractmethod
    def prepare(self) -> None:
        """Let the stream of the detector prepare the frame that was put here."""

    def close(self) -> None:
        """Free it; its work is to be waited for before."""
        self._context.close()


class Pinned(Place):
    """Frames of the host. `mapped`: the GPU reads them in pinned memory; else they are copied to its own."""

    def __init__(self, rig: Rig, outputs: OnGpu, frame_hw: tuple[int, int], mapped: bool) -> None:
        super().__init__(rig, outputs, frame_hw)
        self._host: HostBuffer = rig.gpu.host(self.shape, np.uint8, mapped)
        self._device: DeviceBuffer | None = None if mapped else rig.gpu.device(self._host.nbytes)
        self._copied = rig.gpu.event()
        frame = self._host if self._device is None else self._device.view(self.shape, np.uint8)
        self._context.bind("frame", frame)
        self._prepare = Captured(rig.gpu, rig.detect, self._context.enqueue)

    def put(self, pixels: Any) -> None:
        np.copyto(self._host.array[0], pixels)

    def prepare(self) -> None:
        if self._device is not None:
            self._rig.gpu.copy(self._device, self._host, self._rig.copy)
            self._copied.record(self._rig.copy)
            self._rig.detect.wait(self._copied)
        self._prepare.launch()

    def close(self) -> None:
        self._prepare.close()
        super().close()
        self._copied.close()
        self._host.close()
        if self._device is not None:
            self._device.close()


class Resident(Place):
    """Frames that lie on the GPU, used where they are: each somewhere else, so that no graph can hold them."""

    def put(self, pixels: Any) -> None:
        array = self._rig.gpu.wrap(pixels, self._rig.detect)
        self._context.bind("frame", DeviceArray(array.address, self.shape, array.dtype, array))

    def prepare(self) -> None:
        self._context.enqueue(self._rig.detect)


def _does_not_fit(frame_hw: Shape, least: Shape, most: Shape) -> str:
    """Why a frame cannot be prepared, and what to do; all are (height, width)."""
    sizes = (f"{width}x{height}" for height, width in (least, most, frame_hw))
    told = "built for frames of {} to {}, got {}; ".format(*sizes)
    if any(side < low for side, low in zip(frame_hw, least, strict=True)):
        return told + (
            "backend onnxruntime takes any size; for an engine that does, lower min of [dimensions.height] and "
            "[dimensions.width] in prepare.toml, as engines/README.md tells, and run nanoseg build"
        )
    height, width = (max(sides) for sides in zip(frame_hw, most, strict=True))
    return told + f"nanoseg build --bundle BUNDLE --max-frame {width}x{height} makes an engine that takes it"


def frame_hw(pixels: Any) -> tuple[int, int]:
    """Height and width of an array, or of something on the GPU."""
    told = pixels if isinstance(pixels, np.ndarray) else None
    height, width = (told.shape if told is not None else pixels.__cuda_array_interface__["shape"])[:2]
    return int(height), int(width)


def reads_mapped_faster(rig: Rig) -> bool:
    """Whether a frame in mapped memory is sooner prepared on this GPU than one that is copied first: it is tried.

    Where host and device do not share their memory it is not.
    """
    return rig.gpu.integrated and _trial_ms(rig, mapped=True) < _trial_ms(rig, mapped=False)


def _trial_ms(rig: Rig, mapped: bool) -> float:
    """The least of several times from a frame in pinned memory to one prepared."""
    engine = rig.engines["prepare"]
    sides = zip(TRIAL_HW, engine.smallest("frame")[1:3], engine.largest("frame")[1:3], strict=True)
    height, width = (min(max(side, low), high) for side, low, high in sides)
    outputs = OnGpu(rig.gpu, fixed_outputs([engine]))
    place = Pinned(rig, outputs, (height, width), mapped)
    began, ended = (rig.gpu.event(timing=True) for _ in range(2))
    place.put(np.zeros((height, width, 3), np.uint8))
    spent_ms = []
    for _ in range(TRIALS):
        began.record(rig.detect)
        place.prepare()
        ended.record(rig.detect)
        ended.synchronize()
        spent_ms.append(ended.ms_since(began))
    for each in (place, outputs, began, ended):
        each.close()
    return min(spent_ms)
