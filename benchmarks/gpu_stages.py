"""The chain's work on a GPU, timed by CUDA events: each stage alone, and one frame's stages side by side."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from nanoseg.backends.cuda.memory import HostBuffer
from nanoseg.backends.trt_chain.chain import TrtChain
from nanoseg.timing import percentiles

WARM_UP = 3
ALONE = 0  # the slot of single frames


class Span(NamedTuple):
    """A piece of work, in milliseconds since the first began."""

    name: str
    begin_ms: float
    end_ms: float


def stages(chain: TrtChain, frame: np.ndarray, rounds: int) -> dict[str, dict[str, float]]:
    """`{stage: {"p50": ms, ...}}` on the GPU, each alone and done over and over; a decoder's bucket is a stage each.

    detect has its thresholds brought there and its rows brought back, a bucket what it is asked.
    """
    rig: Any = chain._rig
    slot: Any = chain._slots[ALONE]
    chain.rows(chain.start(frame, 0.0, 0.7))  # so that there is a place for such frames
    rig.gpu.synchronize()
    place, decoder = slot._place(frame), chain._decoders["segment"]
    answer, gives = decoder.answer(), decoder._gives
    works: dict[str, tuple[Any, Callable[[], None]]] = {}
    if place._device is not None:
        works["copy"] = rig.copy, lambda: rig.gpu.copy(place._device, place._host, rig.copy)
    works |= {
        "prepare": (rig.detect, place._prepare.launch),
        "detect": (rig.detect, slot._look.launch),
        "embed": (rig.embed, slot._embed.launch),
    }
    for size, bucket in decoder._buckets.items():
        works[f"segment {size}"] = rig.masks, bucket.launch
    # Of as many as the most prompts are answered with.
    works["logits"] = rig.masks, lambda: rig.gpu.copy(answer.logits, gives.on_gpu("low_res_masks"), rig.masks)
    found = {name: percentiles(timed(rig.gpu, *work, rounds)) for name, work in works.items()}
    for each in answer:
        each.close()
    return found


def timed(gpu: Any, stream: Any, work: Callable[[], None], rounds: int) -> list[float]:
    """GPU milliseconds of each round, after some that are not counted."""
    spent_ms = []
    with gpu.event(timing=True) as began, gpu.event(timing=True) as ended:
        for i in range(WARM_UP + rounds):
            began.record(stream)
            work()
            ended.record(stream)
            ended.synchronize()
            if i >= WARM_UP:
                spent_ms.append(ended.ms_since(began))
    return spent_ms


class Timeline:
    """Around frames, one at a time: marks what begins and ends when, with an event on either side of each piece.

    Work that no graph holds (prompts of points, frames that lie on the GPU) is not seen.
    """

    def __init__(self, chain: TrtChain) -> None:
        self._chain: Any = chain
        self._marks: list[tuple[str, Any, Any]] = []
        self._undo = ExitStack()

    def __enter__(self) -> Timeline:
        chain = self._chain
        rig = chain._rig
        for slot in chain._slots.values():
            self._mark(slot._look, "detect")
            self._mark(slot._embed, "embed")
            for place in slot._places.values():
                if hasattr(place, "_prepare"):
                    self._mark(place._prepare, "prepare")
        for name, decoder in chain._decoders.items():
            for size, bucket in decoder._buckets.items():
                self._mark(bucket, f"{name} {size}")
        copy = rig.gpu.copy

        def marked_copy(dst: Any, src: Any, stream: Any) -> None:
            self._around(copy_name(dst, src), stream, lambda: copy(dst, src, stream))

        rig.gpu.copy = marked_copy
        self._undo.callback(delattr, rig.gpu, "copy")
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        for _, *events in self._marks:
            for event in events:
                event.close()

    def spans(self) -> list[Span]:
        """What was done since the last call, in the order of its beginning; waits for it."""
        self._chain._rig.gpu.synchronize()
        marks, self._marks = self._marks, []
        if not marks:
            return []
        times = [(name, begin.ms_since(marks[0][1]), end.ms_since(marks[0][1])) for name, begin, end in marks]
        first = min(begin for _, begin, _ in times)
        for _, *events in marks:
            for event in events:
                event.close()
        spans = [Span(name, round(begin - first, 4), round(end - first, 4)) for name, begin, end in times]
        return sorted(spans, key=lambda span: span.begin_ms)

    def _mark(self, captured: Any, name: str) -> None:
        launch = captured.launch
        captured.launch = lambda: self._around(name, captured._stream, launch)
        self._undo.callback(delattr, captured, "launch")

    def _around(self, name: str, stream: Any, work: Callable[[], None]) -> None:
        gpu = self._chain._rig.gpu
        begin, end = gpu.event(timing=True), gpu.event(timing=True)
        begin.record(stream)
        work()
        end.record(stream)
        self._marks.append((name, begin, end))


def copy_name(dst: Any, src: Any) -> str:
    """Which way it goes."""
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
    told = {"whole": whole, "busy": busy, "gaps": whole - busy, "overlap": work - busy, "copies": copies}
    return {f"{name}_ms": round(value, 4) for name, value in told.items()}
