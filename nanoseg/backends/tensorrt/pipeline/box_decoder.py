"""The mask decoder for boxes on a GPU: masks where the boxes are, CUDA graphs for usual numbers of boxes and tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, HostBuffer
from nanoseg.backends.pipeline import MaskOutput
from nanoseg.backends.tensorrt.context import TrtContext
from nanoseg.backends.tensorrt.pipeline.buffers import DeviceBuffers, PinnedBuffers
from nanoseg.backends.tensorrt.pipeline.captured_graph import CapturedGraph
from nanoseg.backends.tensorrt.pipeline.memory_plan import (
    CONFIDENCE,
    ROUNDS,
    TILE_LOGITS,
    BlockLayout,
    BoxPlan,
    bucket_sizes,
)
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.tiles import NOT_COMPUTED, Tiles, mask_hw

# Captured are these numbers of tiles a box: on average, objects of 3, 8 and 20 % of a frame of 16:9 at 1024 px.
TILES_A_BOX = (4, 10, 24)


class _Round(NamedTuple):
    """Pinned memory of a batch."""

    inputs: PinnedBuffers
    outputs: PinnedBuffers


class BoxDecoder:
    """The engine of segment_boxes.onnx; not to be shared between threads.

    Boxes run in the graph of their number and of as many tiles, or some more, as they have; the rest in a context
    without a graph.
    """

    def __init__(self, resources: Resources, embedding: DeviceArray) -> None:
        """Allocate buffers and capture the graphs; `embedding` is the memory of image_embeddings."""
        self._resources, self._embedding = resources, embedding
        engine = resources.engines["segment_boxes"]
        self._plan = plan = BoxPlan.of(engine, engine.max_shape("boxes")[0], engine.max_shape("tile_prompts")[0])
        self._inputs, self._outputs = DeviceBuffers(resources, plan.inputs), DeviceBuffers(resources, plan.outputs)
        self._rounds = [
            _Round(PinnedBuffers(resources, plan.inputs), PinnedBuffers(resources, plan.outputs)) for _ in range(ROUNDS)
        ]
        self._done = [resources.gpu.event() for _ in range(ROUNDS)]
        self._uncaptured_context = resources.context("segment_boxes")
        self._graphs: dict[tuple[int, int], CapturedGraph] = {}
        self._download = cache(self._new_download)
        self._views = np.empty((0, 1, 0, 0), np.float32)  # logits of those who do not own them
        self._viewed: Tiles | None = None  # where these are computed
        self._least = engine.min_shape("boxes")[0], engine.min_shape("tile_prompts")[0]
        for boxes in bucket_sizes(self._least[0], plan.boxes):
            for tiles in sorted({min(max(boxes * each, self._least[1]), plan.tiles) for each in TILES_A_BOX}):
                context = resources.context("segment_boxes")
                self._bind(context, boxes, tiles)
                name = f"segment_boxes {boxes} {tiles}"
                self._graphs[boxes, tiles] = resources.captured(name, resources.masks, context.enqueue, context)

    def takes(self, tiles: Tiles) -> bool:
        """Return whether each of the boxes has no more tiles than the engine takes."""
        return int(np.bincount(tiles.prompts).max()) <= self._plan.tiles

    def decode(
        self, boxes: np.ndarray, tiles: Tiles, geometry: Geometry, own: bool, started: Callable[[], None]
    ) -> MaskOutput:
        """Decode the masks of boxes in as many batches as they need, and wait for the last.

        Args:
            boxes: (N, 4) float32, xyxy in pixels of the frame.
            tiles: Those of the boxes, which the engine takes.
            geometry: The frame's geometry.
            own: Whether the caller owns the logits; otherwise they are overwritten by the next call without it.
            started: Called once the GPU has work.

        Returns:
            Logits (N, 1, 4g, 4g) and predicted IoU (N, 1).
        """
        shape = (len(boxes), 1, *mask_hw(geometry))
        logits = np.empty(shape, np.float32) if own else self._blank_views(shape, tiles)
        confidence = np.empty((len(boxes), 1), np.float32)
        waiting: list[tuple[int, slice, Tiles, PinnedBuffers, tuple[int, int]]] = []

        def finish() -> None:
            """Wait for the earliest batch, and take it out."""
            number, part, of_part, outputs, size = waiting.pop(0)
            self._done[number].synchronize()
            found = outputs.array(TILE_LOGITS, self._plan.shapes(*size)[TILE_LOGITS])
            of_part.place(found, logits[part, 0], blank=not own)
            confidence[part] = outputs.array(CONFIDENCE, (size[0], 1))[: part.stop - part.start]

        for index, (part, of_part) in enumerate(tiles.batches(self._plan.boxes, self._plan.tiles)):
            if len(waiting) == ROUNDS:
                finish()
            to_gpu, from_gpu = self._rounds[index % ROUNDS]
            size = self._enqueue(boxes[part], of_part, geometry, to_gpu, from_gpu)
            self._done[index % ROUNDS].record(self._resources.masks)
            waiting.append((index % ROUNDS, part, of_part, from_gpu, size))
            if index == 0:
                started()
        while waiting:
            finish()
        return logits, confidence

    def close(self) -> None:
        """Free its graphs and pinned memory, once its work has been waited for."""
        self._download.cache_clear()
        for inputs, outputs in self._rounds:
            inputs.close()
            outputs.close()
        for graph in self._graphs.values():
            graph.close()

    def _blank_views(self, shape: tuple[int, ...], tiles: Tiles) -> np.ndarray:
        """Return logits of the decoder's own that are NOT_COMPUTED everywhere, for these tiles next."""
        if len(self._views) < shape[0] or self._views.shape[1:] != shape[1:]:
            self._views = np.full(shape, NOT_COMPUTED, np.float32)
        elif self._viewed is not None:
            self._viewed.clear(self._views[: len(self._viewed.windows), 0])
        self._viewed = tiles
        return self._views[: shape[0]]

    def _enqueue(
        self, boxes: np.ndarray, tiles: Tiles, geometry: Geometry, to_gpu: PinnedBuffers, from_gpu: PinnedBuffers
    ) -> tuple[int, int]:
        """Enqueue one batch; returns the numbers of boxes and tiles that it is filled up to."""
        gpu, stream = self._resources.gpu, self._resources.masks
        count, used = len(boxes), len(tiles.prompts)
        bucket = next((boxes for boxes, _ in self._graphs if boxes >= count), count)
        alone = max(count, self._least[0]), max(used, self._least[1])
        size = next((each for each in self._graphs if each[0] == bucket and each[1] >= used), alone)
        for name, values in (("boxes", boxes), ("tile_prompts", tiles.prompts), ("tile_tokens", tiles.tokens)):
            array = to_gpu.array(name)  # beyond the batch lies what an earlier one left, which are tokens, too
            array[: len(values)] = values
        to_gpu.array("tile_prompts")[used : size[1]] = 0
        to_gpu.array("geometry")[...] = geometry.vector()
        gpu.copy(self._inputs.device, to_gpu.host, stream)
        if size in self._graphs:
            self._graphs[size].launch()
        else:
            self._bind(self._uncaptured_context, *size)
            self._uncaptured_context.enqueue(stream)
        target, source = self._download(from_gpu, size[1])
        gpu.copy(target, source, stream)
        return size

    def _new_download(self, pinned: PinnedBuffers, tiles: int) -> tuple[HostBuffer, DeviceArray]:
        """Return the part of the outputs with so many tiles: predicted IoU, and the logits behind it."""
        shape, dtype, offset = BlockLayout(self._plan.outputs).locate(TILE_LOGITS, None)
        nbytes = offset + tiles * int(np.prod(shape[1:])) * dtype.itemsize
        whole = np.dtype(np.uint8)
        return pinned.host.view((nbytes,), whole), self._outputs.device.view((nbytes,), whole)

    def _bind(self, context: TrtContext, boxes: int, tiles: int) -> None:
        context.bind("image_embeddings", self._embedding)
        for name, shape in self._plan.shapes(boxes, tiles).items():
            is_input = name in self._plan.inputs
            if is_input:
                context.set_shape(name, shape)
            context.bind(name, (self._inputs if is_input else self._outputs).device_array(name, shape))
