"""A frame on its way through prepare, detect and embed: its buffers, and its work as graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.pipeline import RawDetections
from nanoseg.backends.tensorrt.pipeline.buffers import Mirrored, OnGpu, fixed_outputs
from nanoseg.backends.tensorrt.pipeline.frame_buffers import Pinned, Place, Resident
from nanoseg.backends.tensorrt.pipeline.frame_sizes import FrameSizes, frame_hw
from nanoseg.backends.tensorrt.pipeline.host_preprocess import PreparedOnHost
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import EngineError

if TYPE_CHECKING:
    from nanoseg.processing.preprocess import Preparer

MOST_SIZES = 4  # of frames, that stay ready in a slot; the least recently used one goes
THRESHOLDS = ("confidence", "iou")
_ANY_SIZE = (0, 0)  # the key of the place for sizes that prepare's engine was not built for


class FrameSlot:
    """One frame at a time; not to be shared between threads. detect and embed run side by side."""

    def __init__(self, resources: Resources, mapped: bool, preparer: Callable[[], Preparer]) -> None:
        """`mapped`: the GPU reads frames in pinned memory; see Pinned. `preparer` gives what the host prepares with."""
        self._resources, self._mapped, self._preparer = resources, mapped, preparer
        self.number = 0  # of the frame that it holds
        gpu, engines = resources.gpu, resources.engines
        self._between = OnGpu(resources, fixed_outputs([engines["prepare"], engines["embed"]]))
        self.embedding = self._between.on_gpu("image_embeddings")
        self._settings = Mirrored(resources, {name: ((), np.dtype(np.float32)) for name in THRESHOLDS})
        self._rows = Mirrored(resources, fixed_outputs([engines["detect"]]))
        # What the GPU has reached: prepared, rows in pinned memory, embedded.
        self._prepared, self._seen, self.embedded = (gpu.event() for _ in range(3))
        self._sizes = FrameSizes.of(engines["prepare"])
        self._places: OrderedDict[tuple[tuple[int, int], bool], Place] = OrderedDict()
        detect, embed = resources.context("detect"), resources.context("embed")
        for name in engines["detect"].inputs:
            detect.bind(name, (self._settings if name in THRESHOLDS else self._between).on_gpu(name))
        for name in engines["detect"].outputs:
            detect.bind(name, self._rows.on_gpu(name))
        for name in (*engines["embed"].inputs, *engines["embed"].outputs):
            embed.bind(name, self._between.on_gpu(name))

        settings, rows = self._settings, self._rows  # what is captured must not hold the slot that holds it

        def look(stream: Stream) -> None:
            settings.upload(stream)
            detect.enqueue(stream)
            rows.download(stream)

        self._look = resources.captured("detect", resources.detect, look, detect)
        self._embed = resources.captured("embed", resources.embed, embed.enqueue, embed)

    def start(self, pixels: Any, thresholds: tuple[float, float] | None) -> int:
        """Begin with a (H, W, 3) uint8 frame, an array or something on the GPU, and give it a number.

        The frame before it is at an end, and whoever read its embedding has waited for that. `pixels` are not looked at
        any more once this is back. Without `thresholds`, confidence and IoU, nothing is looked for.
        """
        resources = self._resources
        self.number += 1
        self._seen.synchronize()  # pinned memory is read no more
        resources.detect.wait(self.embedded)  # nor is what prepare writes to
        place = self._place(pixels)
        place.put(pixels)
        place.prepare()
        self._prepared.record(resources.detect)
        if thresholds is not None:
            for name, value in zip(THRESHOLDS, thresholds, strict=True):
                self._settings.array(name)[...] = value
            self._look.launch()
        self._seen.record(resources.detect)
        resources.embed.wait(self._prepared)
        self._embed.launch()
        self.embedded.record(resources.embed)
        if place.borrows:
            # It costs next to nothing: in the stream of the detector prepare comes right behind the frame before, and
            # the rows of that one are what the host waits for next anyway.
            self._prepared.synchronize()
        return self.number

    def rows(self) -> RawDetections:
        """Wait for the detector alone; views of pinned memory."""
        self._seen.synchronize()
        boxes, scores, class_ids, count, unconverged = (
            self._rows.array(name) for name in ("boxes", "scores", "class_ids", "count", "unconverged")
        )
        return RawDetections(boxes, scores, class_ids, int(count), int(unconverged))

    def close(self) -> None:
        """Free its graphs; all of its work is to be waited for before."""
        for place in self._places.values():
            place.close()
        self._places.clear()
        self._look.close()
        self._embed.close()

    def _place(self, pixels: Any) -> Place:
        """Where such a frame is put; raises EngineError for one on the GPU whose size its engine was not built for."""
        on_host, size_hw = isinstance(pixels, np.ndarray), frame_hw(pixels)
        invalid_reason = self._sizes.invalid_reason(size_hw)
        if invalid_reason and not on_host:  # to bring it down to the host costs more than its owner may think
            raise EngineError(f"{self._resources.engines['prepare'].name}: {invalid_reason}")
        key = (_ANY_SIZE if invalid_reason else size_hw, on_host)
        if key not in self._places:
            if len(self._places) == MOST_SIZES:
                self._places.popitem(last=False)[1].close()
            self._places[key] = self._new_place(*key)
        self._places.move_to_end(key)
        return self._places[key]

    def _new_place(self, size_hw: tuple[int, int], on_host: bool) -> Place:
        if size_hw == _ANY_SIZE:
            return PreparedOnHost(self._resources, self._between, self._preparer())
        if on_host:
            return Pinned(self._resources, self._between, size_hw, self._mapped)
        return Resident(self._resources, self._between, size_hw)
