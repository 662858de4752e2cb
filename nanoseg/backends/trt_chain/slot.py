"""A frame on its way through prepare, detect and embed: its buffers, and its work as graphs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from nanoseg.backends.chain import Rows
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.trt_chain.blocks import Mirrored, OnGpu, fixed_outputs
from nanoseg.backends.trt_chain.captures import Captured
from nanoseg.backends.trt_chain.frame_places import Pinned, Place, Resident, frame_hw
from nanoseg.backends.trt_chain.rig import Rig

MOST_SIZES = 4  # of frames, that stay ready in a slot; the least recently used one goes
THRESHOLDS = ("confidence", "iou")


class Slot:
    """One frame at a time; not to be shared between threads. detect and embed run side by side."""

    def __init__(self, rig: Rig, mapped: bool) -> None:
        """`mapped`: the GPU reads frames in pinned memory; see Pinned."""
        self._rig, self._mapped = rig, mapped
        self.number = 0  # of the frame that it holds
        gpu, engines = rig.gpu, rig.engines
        self._between = OnGpu(gpu, fixed_outputs([engines["prepare"], engines["embed"]]))
        self.embedding = self._between.on_gpu("image_embeddings")
        self._settings = Mirrored(gpu, {name: ((), np.dtype(np.float32)) for name in THRESHOLDS})
        self._rows = Mirrored(gpu, fixed_outputs([engines["detect"]]))
        # What the GPU has reached: prepared, rows in pinned memory, embedded.
        self._prepared, self._seen, self.embedded = (gpu.event() for _ in range(3))
        self._places: OrderedDict[tuple[int, int, bool], Place] = OrderedDict()
        detect, embed = rig.context("detect"), rig.context("embed")
        for name in engines["detect"].inputs:
            detect.bind(name, (self._settings if name in THRESHOLDS else self._between).on_gpu(name))
        for name in engines["detect"].outputs:
            detect.bind(name, self._rows.on_gpu(name))
        for name in (*engines["embed"].inputs, *engines["embed"].outputs):
            embed.bind(name, self._between.on_gpu(name))

        def look(stream: Stream) -> None:
            self._settings.upload(stream)
            detect.enqueue(stream)
            self._rows.download(stream)

        self._look = Captured(gpu, rig.detect, look)
        self._embed = Captured(gpu, rig.embed, embed.enqueue)

    def start(self, pixels: Any, thresholds: tuple[float, float] | None) -> int:
        """Begin with a (H, W, 3) uint8 frame, an array or something on the GPU, and give it a number.

        The frame before it is at an end, and whoever read its embedding has waited for that. Without `thresholds`,
        confidence and IoU, nothing is looked for.
        """
        rig = self._rig
        self.number += 1
        self._seen.synchronize()  # pinned memory, and what lies elsewhere, is read no more
        rig.detect.wait(self.embedded)  # nor is what prepare writes to
        place = self._place(pixels)
        place.put(pixels)
        place.prepare()
        self._prepared.record(rig.detect)
        if thresholds is not None:
            for name, value in zip(THRESHOLDS, thresholds, strict=True):
                self._settings.array(name)[...] = value
            self._look.launch()
        self._seen.record(rig.detect)
        rig.embed.wait(self._prepared)
        self._embed.launch()
        self.embedded.record(rig.embed)
        return self.number

    def rows(self) -> Rows:
        """Wait for the detector alone; views of pinned memory."""
        self._seen.synchronize()
        boxes, scores, class_ids, count, unconverged = (
            self._rows.array(name) for name in ("boxes", "scores", "class_ids", "count", "unconverged")
        )
        return Rows(boxes, scores, class_ids, int(count), int(unconverged))

    def close(self) -> None:
        """Free its graphs; all of its work is to be waited for before."""
        for place in self._places.values():
            place.close()
        self._places.clear()
        self._look.close()
        self._embed.close()

    def _place(self, pixels: Any) -> Place:
        on_host = isinstance(pixels, np.ndarray)
        height, width = frame_hw(pixels)
        key = (height, width, on_host)
        if key not in self._places:
            if len(self._places) == MOST_SIZES:
                self._places.popitem(last=False)[1].close()
            self._places[key] = (
                Pinned(self._rig, self._between, (height, width), self._mapped)
                if on_host
                else Resident(self._rig, self._between, (height, width))
            )
        self._places.move_to_end(key)
        return self._places[key]
