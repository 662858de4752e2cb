"""The mask decoder on a GPU: a CUDA graph for each of some numbers of boxes, one uncaptured context for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.pipeline import MaskOutput
from nanoseg.backends.prompt_batches import split_prompts
from nanoseg.backends.tensorrt.context import TrtContext
from nanoseg.backends.tensorrt.pipeline.buffers import DeviceBuffers, PinnedBuffers
from nanoseg.backends.tensorrt.pipeline.captured_graph import CapturedGraph
from nanoseg.backends.tensorrt.pipeline.mask_buffer import MaskBuffer
from nanoseg.backends.tensorrt.pipeline.memory_plan import MASK_TENSORS, ROUNDS, DecoderPlan, bucket_sizes
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import UsageError
from nanoseg.processing.prompts import ABSENT, Prompts

BOX_POINTS = 2  # points of a box: the prompt of a detection, and so of the captured graphs


class _Round(NamedTuple):
    """Pinned memory of a batch's inputs."""

    inputs: PinnedBuffers
    masks: PinnedBuffers | None


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
        self._plan = plan = DecoderPlan.of(engine, engine.max_shape("point_coords"))
        self.largest_batch = plan.largest_batch
        self._outputs = DeviceBuffers(resources, plan.output_sizes)
        self._inputs = DeviceBuffers(resources, plan.inputs)
        self._masks = DeviceBuffers(resources, plan.masks) if plan.masks else None
        self._rounds = [
            _Round(PinnedBuffers(resources, plan.inputs), PinnedBuffers(resources, plan.masks) if plan.masks else None)
            for _ in range(ROUNDS)
        ]
        self._done = [resources.gpu.event() for _ in range(ROUNDS)]
        self._uncaptured_context = resources.context(name)
        self._buckets: dict[int, CapturedGraph] = {}
        if self._masks is None and self._points in (None, BOX_POINTS):
            for size in bucket_sizes(engine.min_shape("point_coords")[0], self.largest_batch):
                context = resources.context(name)
                self._bind(context, size, BOX_POINTS)
                self._buckets[size] = resources.captured(f"{name} {size}", resources.masks, context.enqueue, context)

    def allocate_output(self) -> MaskBuffer:
        """Return pinned memory for the outputs of decode()."""
        return MaskBuffer(self._resources.gpu, self._plan, self._outputs.device)

    def split(self, prompts: Prompts) -> list[Prompts]:
        """Split prompts into batches of one call each; raises UsageError for prompts that the engine does not take."""
        max_points, points = self._plan.max_points, prompts.coords.shape[1]
        if points > max_points:
            raise UsageError(
                f"prompts: {self.name} takes up to {max_points} points a prompt, got {points}; "
                "a recipe with more of dimensions.points makes an engine that does: see engines/README.md"
            )
        return list(split_prompts(prompts, self.name, self.largest_batch, self._points, self._takes_absent))

    def decode(
        self, batches: list[Prompts], geometry: np.ndarray, output: MaskBuffer, started: Callable[[], None]
    ) -> MaskOutput:
        """Decode batches of split() one behind the other, and wait for the last.

        Args:
            batches: One or more. Of more than ROUNDS the host takes one out while the GPU decodes the next.
            geometry: (8,) float32.
            output: Memory for their outputs.
            started: Called once the GPU has work.

        Returns:
            Logits, views of `output` for up to ROUNDS batches, and predicted IoU in a new array.
        """
        stream, starts = self._resources.masks, np.cumsum([0, *map(len, batches)]).tolist()
        logits: np.ndarray | None = None
        if len(batches) > ROUNDS:
            shape = self._plan.output_sizes["low_res_masks"][0]
            logits = np.empty((starts[-1], *shape[1:]), np.float32)
        confidence: list[np.ndarray] = []

        def finish(index: int) -> None:
            """Wait for a batch, and take it out."""
            self._done[index % ROUNDS].synchronize()
            confidence[index] = confidence[index].copy()
            if logits is not None:
                count = len(batches[index])
                logits[starts[index] : starts[index + 1]] = output.logits(index % ROUNDS * self.largest_batch, count)

        for index, batch in enumerate(batches):
            if index >= ROUNDS:
                finish(index - ROUNDS)
            start = starts[index] if logits is None else index % ROUNDS * self.largest_batch
            confidence.append(self._enqueue(batch, geometry, self._rounds[index % ROUNDS], output, start))
            self._done[index % ROUNDS].record(stream)
            if index == 0:
                started()
        for index in range(max(0, len(batches) - ROUNDS), len(batches)):
            finish(index)
        if logits is None:
            logits = output.logits(0, starts[-1])
        return logits, confidence[0] if len(batches) == 1 else np.concatenate(confidence)

    def close(self) -> None:
        """Free its graphs and pinned memory, once its work has been waited for."""
        for inputs, masks in self._rounds:
            inputs.close()
            if masks is not None:
                masks.close()
        for bucket in self._buckets.values():
            bucket.close()

    def _enqueue(
        self, batch: Prompts, geometry: np.ndarray, to_gpu: _Round, output: MaskBuffer, start: int
    ) -> np.ndarray:
        """Enqueue one batch; returns where its predicted IoU will be."""
        count, points = batch.coords.shape[:2]
        gpu, stream = self._resources.gpu, self._resources.masks
        size = count
        if points == BOX_POINTS:
            size = min((size for size in self._buckets if size >= count), default=count)
        coords = to_gpu.inputs.array("point_coords", (size, points, 2))
        labels = to_gpu.inputs.array("point_labels", (size, points))
        coords[:count], labels[:count] = batch.coords, batch.labels
        if size > count:
            coords[count:], labels[count:] = 0, ABSENT
        to_gpu.inputs.array("geometry")[...] = geometry
        gpu.copy(self._inputs.device, to_gpu.inputs.host, stream)
        if points == BOX_POINTS and size in self._buckets:
            self._buckets[size].launch()
        else:
            self._bind(self._uncaptured_context, size, points)
            self._upload_masks(batch, to_gpu.masks, stream)
            self._uncaptured_context.enqueue(stream)
        return output.download(size, count, start, stream)

    def _upload_masks(self, batch: Prompts, pinned: PinnedBuffers | None, stream: Stream) -> None:
        if self._masks is None or pinned is None or batch.mask_input is None or batch.has_mask is None:
            return
        for name, values in zip(MASK_TENSORS, (batch.mask_input, batch.has_mask), strict=True):
            pinned.array(name, values.shape)[...] = values
            self._resources.gpu.copy(
                self._masks.device_array(name, values.shape), pinned.pinned(name, values.shape), stream
            )

    def _bind(self, context: TrtContext, size: int, points: int) -> None:
        context.bind("image_embeddings", self._embedding)
        for name, shape in self._plan.input_shapes(size, points).items():
            buffers = self._masks if name in MASK_TENSORS else self._inputs
            if buffers is not None:
                context.set_shape(name, shape)
                context.bind(name, buffers.device_array(name, shape))
        layout = self._plan.outputs(size)
        for name in self._plan.output_sizes:
            context.bind(name, self._outputs.device.view(*layout.locate(name, None)))
