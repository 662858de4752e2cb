"""Pinned memory that a decoder's outputs are downloaded to, batch after batch."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer, size_of
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.tensorrt.pipeline.memory_plan import CONFIDENCE, LOGITS, ROUNDS, DecoderPlan


class _Download(NamedTuple):
    """The copies of a batch's outputs, and where its predicted IoU (count, M) will be."""

    copies: list[tuple[HostBuffer, DeviceArray]]
    confidence: np.ndarray


class MaskBuffer:
    """Logits and predicted IoU of ROUNDS batches; the logits of all follow one another.

    On the GPU the predicted IoU of a batch lies before its logits. So it does here for the first batch, so that one
    copy does for both; that of the others has a place of its own, behind the logits.
    """

    def __init__(self, gpu: Gpu, plan: DecoderPlan, outputs: DeviceBuffer) -> None:
        """Allocate it; `outputs` is the block on the GPU that holds the outputs of a batch."""
        self._gpu, self._plan, self._outputs = gpu, plan, outputs
        self._head = plan.outputs(plan.largest_batch).locate(LOGITS, None)[2]  # bytes before the logits
        self._host: HostBuffer = gpu.host_buffer((plan.pinned_output_bytes,), np.uint8)
        # Of each size that there is they are made once.
        self._download, self._logits = cache(self._new_download), cache(self._view)

    def download(self, size: int, count: int, start: int, stream: Stream) -> np.ndarray:
        """Enqueue the download of a batch.

        Args:
            size: Prompts of the batch, with those that fill it up.
            count: Prompts of the batch.
            start: Index of its first prompt here; that of the first batch is 0.
            stream: Stream of the decoder.

        Returns:
            The predicted IoU (count, M), a view of pinned memory.
        """
        copies, confidence = self._download(size, count, start)
        for target, source in copies:
            self._gpu.copy(target, source, stream)
        return confidence

    def logits(self, start: int, count: int) -> np.ndarray:
        """Return the logits (count, M, 4g, 4g) of some prompts: a view, overwritten by the next download."""
        return self._logits(LOGITS, start, count).array

    def close(self) -> None:
        """Free the memory, once the work on it has been waited for and no array of it is held."""
        self._download.cache_clear()
        self._logits.cache_clear()
        self._host.close()

    def _new_download(self, size: int, count: int, start: int) -> _Download:
        layout = self._plan.outputs(size)
        (shape, dtype, _), (_, _, before) = layout.locate(CONFIDENCE, None), layout.locate(LOGITS, None)
        if start == 0:
            whole = self._host.view((before + count * self._plan.mask_bytes,), np.uint8, self._head - before)
            confidence = whole.view((count, *shape[1:]), dtype)
            return _Download([(whole, self._outputs.view(whole.shape, whole.dtype))], confidence.array)
        logits, confidence = (self._view(name, start, count) for name in (LOGITS, CONFIDENCE))
        ends = ((logits, before), (confidence, 0))
        copies = [(end, self._outputs.view(end.shape, end.dtype, offset)) for end, offset in ends]
        return _Download(copies, confidence.array)

    def _view(self, name: str, start: int, count: int) -> HostBuffer:
        shape, dtype = self._plan.output_sizes[name]
        first = self._head
        if name == CONFIDENCE:
            first += ROUNDS * self._plan.largest_batch * self._plan.mask_bytes
        return self._host.view((count, *shape[1:]), dtype, first + start * size_of(shape[1:], dtype))
