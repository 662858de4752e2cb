"""The mask decoder on a GPU: a graph for 1, 2, 4, ... boxes, and anything else as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, HostBuffer
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.prompt_batches import portions
from nanoseg.backends.tensorrt.context import Shape, TrtContext
from nanoseg.backends.tensorrt.pipeline.buffers import Mirrored, OnGpu, Sides
from nanoseg.backends.tensorrt.pipeline.captured_graph import Captured
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import UsageError
from nanoseg.processing.prompts import ABSENT, Prompts

BOX_POINTS = 2  # of a box: what a detection asks for, and so what graphs are made of
LOGITS, CONFIDENCE = "low_res_masks", "iou_predictions"
_OF_POINTS = ("point_coords", "point_labels")
_OF_MASKS = ("mask_input", "has_mask_input")


class Answer(NamedTuple):
    """Pinned memory that masks and their IoUs come to."""

    logits: HostBuffer  # (N, M, 4g, 4g) of the most prompts
    confidence: HostBuffer  # (N, M)


class Decoder:
    """segment.onnx's engine, or segment_mask.onnx's; not to be shared between threads.

    Boxes run in the smallest bucket that has room for them, which is filled up with points that are absent: each bucket
    has a graph and a context of its own. Points, masks and whatever else varies run in a context without a graph.
    """

    def __init__(self, resources: Resources, name: str, embedding: DeviceArray) -> None:
        """`embedding` is where it finds image_embeddings."""
        self._resources, self._embedding = resources, embedding
        engine = resources.engines[name]
        self.name = engine.name
        prompts, self._points, _ = engine.inputs["point_coords"].shape
        self._absent = prompts is None  # a decoder of one prompt was made elsewhere and knows no absent points
        self.most, self._most_points, _ = engine.max_shape("point_coords")
        self._side = engine.outputs["low_res_masks"].shape[-1] or 0
        masks = engine.outputs["iou_predictions"].shape[1] or 0
        self._given = {LOGITS: (self.most, masks, self._side, self._side), CONFIDENCE: (self.most, masks)}
        self._gives = OnGpu(
            resources, {each: (shape, engine.outputs[each].dtype) for each, shape in self._given.items()}
        )
        most = self._shapes(self.most, self._most_points)
        self._takes_masks = "mask_input" in engine.inputs
        feeds: Sides = {each: (most[each], spec.dtype) for each, spec in engine.inputs.items() if each in most}
        self._feeds = Mirrored(resources, {each: side for each, side in feeds.items() if each not in _OF_MASKS})
        self._masks = Mirrored(resources, {each: feeds[each] for each in _OF_MASKS}) if self._takes_masks else None
        self._free = resources.context(name)
        self._buckets: dict[int, Captured] = {}
        if not self._takes_masks and self._points in (None, BOX_POINTS):
            for size in _sizes(engine.min_shape("point_coords")[0], self.most):
                context = resources.context(name)
                self._bind(context, size, BOX_POINTS)
                self._buckets[size] = resources.captured(
                    f"{name} {size}", resources.masks, self._work(context), context
                )

    def answer(self) -> Answer:
        """Room for what the most prompts are answered."""
        gpu, given = self._resources.gpu, self._given
        return Answer(gpu.host_buffer(given[LOGITS], np.float32), gpu.host_buffer(given[CONFIDENCE], np.float32))

    def portions(self, prompts: Prompts) -> list[Prompts]:
        """What fits into one call each; raises UsageError for prompts that it does not take."""
        if prompts.coords.shape[1] > self._most_points:
            raise UsageError(
                f"prompts: {self.name} takes up to {self._most_points} points a prompt, got {prompts.coords.shape[1]}; "
                "a recipe with more of dimensions.points makes an engine that does: see engines/README.md"
            )
        return list(portions(prompts, self.name, self.most, self._points, self._absent))

    def ask(self, some: Prompts, geometry: np.ndarray, answer: Answer) -> Answer:
        """Let the stream of masks answer a portion; gives its part of `answer`, to be read after a wait.

        The portion before it was waited for.
        """
        count, points = some.coords.shape[:2]
        gpu, stream = self._resources.gpu, self._resources.masks
        fitting = [size for size in self._buckets if size >= count and points == BOX_POINTS]
        size = min(fitting, default=count)
        coords, labels = (self._feeds.array(each, self._shapes(size, points)[each]) for each in _OF_POINTS)
        coords[:count], labels[:count] = some.coords, some.labels
        coords[count:], labels[count:] = 0, ABSENT
        self._feeds.array("geometry")[...] = geometry
        if fitting:
            self._buckets[size].launch()
        else:
            self._bind(self._free, size, points)
            if self._masks is not None and some.mask_input is not None and some.has_mask is not None:
                for each, values in zip(_OF_MASKS, (some.mask_input, some.has_mask), strict=True):
                    self._masks.array(each, values.shape)[...] = values
                    self._masks.upload(stream, each, values.shape)
            self._work(self._free)(stream)
        part = Answer(*(whole.view((count, *whole.shape[1:]), whole.dtype) for whole in answer))
        for each, pinned in zip(self._given, part, strict=True):
            gpu.copy(pinned, self._gives.on_gpu(each, pinned.shape), stream)
        return part

    def close(self) -> None:
        """Free its graphs; its work is to be waited for before."""
        for bucket in self._buckets.values():
            bucket.close()

    def _work(self, context: TrtContext) -> Callable[[Stream], None]:
        def work(stream: Stream) -> None:
            self._feeds.upload(stream)
            context.enqueue(stream)

        return work

    def _bind(self, context: TrtContext, size: int, points: int) -> None:
        context.bind("image_embeddings", self._embedding)
        for each, shape in self._shapes(size, points).items():
            block = self._masks if each in _OF_MASKS else self._feeds
            if block is not None:
                context.set_shape(each, shape)
                context.bind(each, block.on_gpu(each, shape))
        for each, shape in self._given.items():
            context.bind(each, self._gives.on_gpu(each, (size, *shape[1:])))

    def _shapes(self, size: int, points: int) -> dict[str, Shape]:
        """Of all that it is fed with each call."""
        masks = {"mask_input": (size, 1, self._side, self._side), "has_mask_input": (size,)}
        return {"point_coords": (size, points, 2), "point_labels": (size, points), "geometry": (8,), **masks}


def _sizes(least: int, most: int) -> list[int]:
    """1, 2, 4, ... and the most, but none below `least`."""
    return sorted({min(max(1 << power, least), most) for power in range(most.bit_length() + 1)})
