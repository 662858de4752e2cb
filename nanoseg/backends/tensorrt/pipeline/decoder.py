"""The mask decoder on a GPU: a CUDA graph for each bucket of 1, 2, 4, ... boxes, one uncaptured context for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray, HostBuffer
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.prompt_batches import split_prompts
from nanoseg.backends.tensorrt.context import TrtContext
from nanoseg.backends.tensorrt.pipeline.buffers import DeviceBuffers, MirroredBuffers
from nanoseg.backends.tensorrt.pipeline.captured_graph import CapturedGraph
from nanoseg.backends.tensorrt.pipeline.memory_plan import MASK_TENSORS, DecoderPlan
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import UsageError
from nanoseg.processing.prompts import ABSENT, Prompts

BOX_POINTS = 2  # points of a box: the prompt of a detection, and so of the captured graphs


class PinnedOutput(NamedTuple):
    """A decoder's output in pinned memory."""

    logits: HostBuffer  # (N, M, 4g, 4g) float32
    confidence: HostBuffer  # (N, M) float32


class Decoder:
    """The engine of segment.onnx or segment_mask.onnx; not to be shared between threads.

    Boxes run in the smallest bucket that holds them, padded with absent points; each bucket has its own graph and
    context. Points, masks and other shapes run in a context without a graph.
    """

    def __init__(self, resources: Resources, name: str, embedding: DeviceArray) -> None:
        """Allocate buffers and capture the buckets' graphs; `embedding` is the memory of image_embeddings."""
        self._resources, self._embedding = resources, embedding
        engine = resources.engines[name]
        self.name = engine.name
        prompts, self._points, _ = engine.inputs["point_coords"].shape
        self._takes_absent = prompts is None  # a decoder of one prompt a call was made elsewhere
        self._plan = DecoderPlan.of(engine, engine.max_shape("point_coords"))
        self.largest_batch = self._plan.largest_batch
        self._outputs = DeviceBuffers(resources, self._plan.outputs)
        self._inputs = MirroredBuffers(resources, self._plan.inputs)
        self._masks = MirroredBuffers(resources, self._plan.masks) if self._plan.masks else None
        self._uncaptured_context = resources.context(name)
        self._buckets: dict[int, CapturedGraph] = {}
        if self._masks is None and self._points in (None, BOX_POINTS):
            for size in _bucket_sizes(engine.min_shape("point_coords")[0], self.largest_batch):
                context = resources.context(name)
                self._bind(context, size, BOX_POINTS)
                self._buckets[size] = resources.captured(
                    f"{name} {size}", resources.masks, self._work(context), context
                )

    def allocate_output(self) -> PinnedOutput:
        """Return pinned memory for the output of the largest batch."""
        logits, confidence = self._plan.pinned_outputs.values()
        gpu = self._resources.gpu
        return PinnedOutput(gpu.host_buffer(*logits), gpu.host_buffer(*confidence))

    def split(self, prompts: Prompts) -> list[Prompts]:
        """Split prompts into batches of one call each; raises UsageError for prompts that the engine does not take."""
        max_points, points = self._plan.max_points, prompts.coords.shape[1]
        if points > max_points:
            raise UsageError(
                f"prompts: {self.name} takes up to {max_points} points a prompt, got {points}; "
                "a recipe with more of dimensions.points makes an engine that does: see engines/README.md"
            )
        return list(split_prompts(prompts, self.name, self.largest_batch, self._points, self._takes_absent))

    def enqueue(self, batch: Prompts, geometry: np.ndarray, output: PinnedOutput) -> PinnedOutput:
        """Enqueue one batch on the stream of masks, after the one before has been waited for.

        Args:
            batch: One batch of split().
            geometry: (8,) float32.
            output: Memory that the output is downloaded to.

        Returns:
            The part of `output` that the batch fills, to be read after a wait.
        """
        count, points = batch.coords.shape[:2]
        gpu, stream = self._resources.gpu, self._resources.masks
        buckets = [size for size in self._buckets if size >= count and points == BOX_POINTS]
        size = min(buckets, default=count)
        shapes = self._plan.input_shapes(size, points)
        coords, labels = (self._inputs.array(name, shapes[name]) for name in ("point_coords", "point_labels"))
        coords[:count], labels[:count] = batch.coords, batch.labels
        coords[count:], labels[count:] = 0, ABSENT
        self._inputs.array("geometry")[...] = geometry
        if buckets:
            self._buckets[size].launch()
        else:
            self._bind(self._uncaptured_context, size, points)
            if self._masks is not None and batch.mask_input is not None and batch.has_mask is not None:
                for name, values in zip(MASK_TENSORS, (batch.mask_input, batch.has_mask), strict=True):
                    self._masks.array(name, values.shape)[...] = values
                    self._masks.upload(stream, name, values.shape)
            self._work(self._uncaptured_context)(stream)
        part = PinnedOutput(*(whole.view((count, *whole.shape[1:]), whole.dtype) for whole in output))
        for name, pinned in zip(self._plan.outputs, part, strict=True):
            gpu.copy(pinned, self._outputs.device_array(name, pinned.shape), stream)
        return part

    def close(self) -> None:
        """Free its graphs, once its work has been waited for."""
        for bucket in self._buckets.values():
            bucket.close()

    def _work(self, context: TrtContext) -> Callable[[Stream], None]:
        def work(stream: Stream) -> None:
            self._inputs.upload(stream)
            context.enqueue(stream)

        return work

    def _bind(self, context: TrtContext, size: int, points: int) -> None:
        context.bind("image_embeddings", self._embedding)
        for name, shape in self._plan.input_shapes(size, points).items():
            buffers = self._masks if name in MASK_TENSORS else self._inputs
            if buffers is not None:
                context.set_shape(name, shape)
                context.bind(name, buffers.device_array(name, shape))
        for name, (shape, _) in self._plan.outputs.items():
            context.bind(name, self._outputs.device_array(name, (size, *shape[1:])))


def _bucket_sizes(smallest: int, largest: int) -> list[int]:
    """Return 1, 2, 4, ... and `largest`, but none below `smallest`."""
    return sorted({min(max(1 << power, smallest), largest) for power in range(largest.bit_length() + 1)})
