"""A frame in flight through prepare, detect and embed: its buffers, and its work as graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.tensorrt.pipeline.buffers import DeviceBuffers, MirroredBuffers
from nanoseg.backends.tensorrt.pipeline.frame_buffers import DeviceFrameBuffer, FrameBuffer, HostFrameBuffer
from nanoseg.backends.tensorrt.pipeline.frame_sizes import FrameSizes
from nanoseg.backends.tensorrt.pipeline.host_preprocess import HostPreprocess
from nanoseg.backends.tensorrt.pipeline.memory_plan import THRESHOLDS, SlotPlan
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import EngineError
from nanoseg.processing.image import Pixels, frame_hw
from nanoseg.processing.nms import RawDetections

if TYPE_CHECKING:
    from nanoseg.processing.preprocess import Preprocessor

MAX_FRAME_SIZES = 4  # whose buffers a slot keeps; the least recently used one is freed
_ANY_SIZE = (0, 0)  # key of the buffer for sizes that prepare's engine was not built for


class FrameSlot:
    """One frame at a time; not to be shared between threads. detect and embed run side by side."""

    def __init__(self, resources: Resources, mapped: bool, preprocessor: Callable[[], Preprocessor]) -> None:
        """Allocate buffers and capture graphs.

        Args:
            resources: The pipeline's.
            mapped: Whether the GPU reads frames in pinned memory; see HostFrameBuffer.
            preprocessor: Returns the host's preprocessor, for frame sizes that prepare's engine does not take.
        """
        self._resources, self._mapped, self._preprocessor = resources, mapped, preprocessor
        self.number = 0  # number of the frame that it holds
        self._waited = False  # whether the host has waited for its detections
        gpu, engines = resources.gpu, resources.engines
        plan = SlotPlan.of(engines)
        self._intermediate = DeviceBuffers(resources, plan.intermediate)
        self.embedding = self._intermediate.device_array("image_embeddings")
        self._thresholds = MirroredBuffers(resources, plan.thresholds)
        self._detections = MirroredBuffers(resources, plan.detections)
        # Recorded when the frame is preprocessed, when its detections are in pinned memory, and when it is embedded.
        self._preprocessed, self._detected, self.embedded = (gpu.event() for _ in range(3))
        self._sizes = FrameSizes.of(engines.get("prepare"))
        self._frame_buffers: OrderedDict[tuple[tuple[int, int], bool], FrameBuffer] = OrderedDict()
        detect, embed = resources.context("detect"), resources.context("embed")
        for name in engines["detect"].inputs:
            detect.bind(name, (self._thresholds if name in THRESHOLDS else self._intermediate).device_array(name))
        for name in engines["detect"].outputs:
            detect.bind(name, self._detections.device_array(name))
        for name in (*engines["embed"].inputs, *engines["embed"].outputs):
            embed.bind(name, self._intermediate.device_array(name))

        # Local names: the captured work must not refer to the slot, which refers to it.
        thresholds, detections = self._thresholds, self._detections

        def run_detector(stream: Stream) -> None:
            thresholds.upload(stream)
            detect.enqueue(stream)
            detections.download(stream)

        self._detect = resources.captured("detect", resources.detect, run_detector, detect)
        self._embed = resources.captured("embed", resources.embed, embed.enqueue, embed)
        # Last: an error of the above keeps this object, and arrays would keep their memory.
        self._threshold_arrays = [self._thresholds.array(name) for name in THRESHOLDS]
        self._detection_arrays = {name: self._detections.array(name) for name in plan.detections}

    def start(self, pixels: Pixels, thresholds: tuple[float, float] | None) -> int:
        """Start a frame, which ends the previous one; reads of the previous embedding must be complete.

        Args:
            pixels: (H, W, 3) uint8; not read any more once this returns.
            thresholds: Confidence and IoU; None to embed the frame without detecting its objects.

        Returns:
            The frame's number.
        """
        resources = self._resources
        self.number += 1
        if not self._waited:
            self._detected.synchronize()  # the GPU reads pinned memory no more
        self._waited = False
        resources.detect.wait(self.embedded)  # nor the outputs of prepare
        frame_buffer = self._frame_buffer(pixels)
        frame_buffer.upload(pixels)
        frame_buffer.preprocess()
        self._preprocessed.record(resources.detect)
        if thresholds is not None:
            for array, value in zip(self._threshold_arrays, thresholds, strict=True):
                array[...] = value
            self._detect.launch()
        self._detected.record(resources.detect)
        resources.embed.wait(self._preprocessed)
        self._embed.launch()
        self.embedded.record(resources.embed)
        if frame_buffer.borrows:
            # It costs next to nothing: in the stream of the detector prepare comes right behind the frame before, whose
            # detections the host waits for next anyway.
            self._preprocessed.synchronize()
        return self.number

    def detections(self) -> RawDetections:
        """Wait for the detector alone and return its outputs, views of pinned memory."""
        self._detected.synchronize()
        self._waited = True
        return cast(RawDetections, self._detection_arrays)

    def close(self) -> None:
        """Free its graphs, once all of its work has been waited for."""
        self._threshold_arrays.clear()  # they would keep their memory
        self._detection_arrays.clear()
        for frame_buffer in self._frame_buffers.values():
            frame_buffer.close()
        self._frame_buffers.clear()
        self._detect.close()
        self._embed.close()

    def _frame_buffer(self, pixels: Pixels) -> FrameBuffer:
        """Return the buffer for a frame; raises EngineError for one on the GPU that prepare's engine cannot take."""
        on_host, size_hw = isinstance(pixels, np.ndarray), frame_hw(pixels)
        invalid_reason = self._sizes.invalid_reason(size_hw)
        if invalid_reason and not on_host:  # a download would cost more than its owner expects
            engine = self._resources.engines.get("prepare")
            raise EngineError(f"{'prepare' if engine is None else engine.name}: {invalid_reason}")
        key = (_ANY_SIZE if invalid_reason else size_hw, on_host)
        if key not in self._frame_buffers:
            if len(self._frame_buffers) == MAX_FRAME_SIZES:
                self._frame_buffers.popitem(last=False)[1].close()
            self._frame_buffers[key] = self._new_frame_buffer(*key)
        self._frame_buffers.move_to_end(key)
        return self._frame_buffers[key]

    def _new_frame_buffer(self, size_hw: tuple[int, int], on_host: bool) -> FrameBuffer:
        if size_hw == _ANY_SIZE:
            return HostPreprocess(self._resources, self._intermediate, self._preprocessor())
        if on_host:
            return HostFrameBuffer(self._resources, self._intermediate, size_hw, self._mapped)
        return DeviceFrameBuffer(self._resources, self._intermediate, size_hw)
