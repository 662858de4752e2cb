"""The pipeline's work on a GPU, timed by CUDA events: each stage alone, and one frame's stages side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain as chained
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from nanoseg.backends.cuda.memory import HostBuffer
from nanoseg.backends.tensorrt.pipeline.frame_buffers import HostFrameBuffer
from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline
from nanoseg.utils.timing import percentiles

WARM_UP, WARM_UP_S = 3, 0.5  # times and seconds at least: an idle GPU is slow, and speeds up when it has work
SINGLE = 0  # the slot of single frames


class Span(NamedTuple):
    """A piece of work, in milliseconds since the first began."""

    name: str
    begin_ms: float
    end_ms: float


def stages(pipeline: TrtPipeline, frame: np.ndarray, rounds: int) -> dict[str, dict[str, float]]:
    """`{stage: {"p50": ms, ...}}` on the GPU, each alone and done over and over; a decoder's bucket is a stage each.

    detect includes the upload of thresholds and the download of detections.
    """
    resources: Any = pipeline._resources
    slot: Any = pipeline._slots[SINGLE]
    pipeline.detections(pipeline.start(frame, 0.0, 0.7))  # allocates the buffer of such frames
    resources.gpu.synchronize()
    buffer, decoder = slot._frame_buffer(frame), pipeline._decoders["segment"]
    output = decoder.allocate_output()
    works: dict[str, tuple[Any, Callable[[], object]]] = {}
    if isinstance(buffer, HostFrameBuffer) and buffer._device is not None:
        works["copy"] = resources.copy, lambda: resources.gpu.copy(buffer._device, buffer._host, resources.copy)
    works |= {
        # The engine's work; or, for frame sizes that it was not built for, the upload of what the host preprocessed.
        "prepare": (resources.detect, buffer._graph.launch if hasattr(buffer, "_graph") else buffer.preprocess),
        "detect": (resources.detect, slot._detect.launch),
        "embed": (resources.embed, slot._embed.launch),
        "embedding": (
            resources.masks,
            lambda: resources.gpu.copy(pipeline._embedding, slot.embedding, resources.masks),
        ),
    }
    for size, bucket in decoder._buckets.items():
        works[f"segment {size}"] = resources.masks, bucket.launch
    # The download of the largest batch's logits.
    works["logits"] = (
        resources.masks,
        lambda: output.download(decoder.largest_batch, decoder.largest_batch, 0, resources.masks),
    )
    pipeline._loaded_key = None  # the decoders' input was overwritten
    found = {name: percentiles(timed(resources.gpu, *work, rounds)) for name, work in works.items()}
    output.close()
    return found


def warm_up(work: Callable[[], object]) -> None:
    """Call `work` a few times, and for a minimum time."""
    began = time.perf_counter()
    done = 0
    while done < WARM_UP or time.perf_counter() - began < WARM_UP_S:
        work()
        done += 1


def timed(gpu: Any, stream: Any, work: Callable[[], object], rounds: int) -> list[float]:
    """GPU milliseconds of each round, one right behind the other.

    They are given to the GPU ahead, without a wait in between: the time that the host takes for that is in none of
    them, except where the GPU takes less.
    """

    def once() -> None:
        work()
        stream.synchronize()

    warm_up(once)
    with ExitStack() as stack:
        marks = [stack.enter_context(gpu.event(timing=True)) for _ in range(WARM_UP + rounds + 1)]
        for mark in marks[:-1]:
            mark.record(stream)
            work()
        marks[-1].record(stream)
        marks[-1].synchronize()
        # In the first ones the GPU waited for the host.
        return [after.ms_since(before) for before, after in pairwise(marks[WARM_UP:])]


class Timeline:
    """Around frames, one at a time: marks what begins and ends when, with an event on either side of each piece.

    Work that no graph holds (prompts of points, frames that lie on the GPU) is not seen.
    """

    def __init__(self, pipeline: TrtPipeline) -> None:
        self._pipeline: Any = pipeline
        self._marks: list[tuple[str, Any, Any]] = []
        self._pairs: list[tuple[Any, Any]] = []  # of events, to be used again: to make one takes time
        self._inside = False  # a piece of work
        self._undo = ExitStack()

    def __enter__(self) -> Timeline:
        pipeline = self._pipeline
        resources = pipeline._resources
        for slot in pipeline._slots.values():
            self._mark(slot._detect, "detect")
            self._mark(slot._embed, "embed")
            for buffer in slot._frame_buffers.values():
                if hasattr(buffer, "_graph"):
                    self._mark(buffer._graph, "prepare")
        for name, decoder in pipeline._decoders.items():
            for size, bucket in decoder._buckets.items():
                self._mark(bucket, f"{name} {size}")
        copy = resources.gpu.copy

        def marked_copy(dst: Any, src: Any, stream: Any) -> None:
            self._around(copy_name(dst, src), stream, lambda: copy(dst, src, stream))

        resources.gpu.copy = marked_copy
        self._undo.callback(delattr, resources.gpu, "copy")
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        for event in chained.from_iterable((*self._pairs, *(events for _, *events in self._marks))):
            event.close()

    def spans(self) -> list[Span]:
        """Return the work since the last call in the order of its beginning, after waiting for it."""
        self._pipeline._resources.gpu.synchronize()
        marks, self._marks = self._marks, []
        if not marks:
            return []
        times = [(name, begin.ms_since(marks[0][1]), end.ms_since(marks[0][1])) for name, begin, end in marks]
        first = min(begin for _, begin, _ in times)
        self._pairs += [(begin, end) for _, begin, end in marks]
        spans = [Span(name, round(begin - first, 4), round(end - first, 4)) for name, begin, end in times]
        return sorted(spans, key=lambda span: span.begin_ms)

    def _mark(self, captured: Any, name: str) -> None:
        launch = captured.launch
        captured.launch = lambda: self._around(name, captured._stream, launch)
        self._undo.callback(delattr, captured, "launch")

    def _around(self, name: str, stream: Any, work: Callable[[], None]) -> None:
        if self._inside:  # what is given piece by piece, as it is where there are no graphs, is one piece all the same
            work()
            return
        gpu = self._pipeline._resources.gpu
        begin, end = self._pairs.pop() if self._pairs else (gpu.event(timing=True), gpu.event(timing=True))
        self._marks.append((name, begin, end))
        begin.record(stream)
        self._inside = True
        try:
            work()
        finally:
            self._inside = False
        end.record(stream)


def copy_name(dst: Any, src: Any) -> str:
    """Return the direction of a copy."""
    if isinstance(src, HostBuffer):
        return "copy in"
    return "copy out" if isinstance(dst, HostBuffer) else "copy across"


def summary(spans: list[Span]) -> dict[str, float]:
    """Milliseconds from the first beginning to the last end, of it with work, with none, and with several at once."""
    if not spans:
        return {}
    busy, reached = 0.0, spans[0].begin_ms
    for span in spans:
        busy += max(0.0, span.end_ms - max(span.begin_ms, reached))
        reached = max(reached, span.end_ms)
    whole = reached - spans[0].begin_ms
    work = sum(span.end_ms - span.begin_ms for span in spans)
    copies = sum(span.end_ms - span.begin_ms for span in spans if span.name.startswith("copy"))
    totals = {"whole": whole, "busy": busy, "gaps": whole - busy, "overlap": work - busy, "copies": copies}
    return {f"{name}_ms": round(value, 4) for name, value in totals.items()}
