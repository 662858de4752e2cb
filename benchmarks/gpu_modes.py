"""A segmenter on a GPU timed by the host's clock: frame by frame, as a stream, and against NanoSAM's way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import nanoseg
from gpu_stages import Timeline, summary, warm_up
from nanoseg.types import Detections
from nanoseg.utils.timing import Latencies, percentiles
from pipeline import crops

# pixels, confidence, IoU, objects -> masks
Way = Callable[[np.ndarray, float, float, int], Sequence[np.ndarray]]
FIELDS = ("copies_ms", "gaps_ms", "overlap_ms", "busy_ms", "whole_ms")


def modes(
    segmenter: nanoseg.Segmenter, frames: list[np.ndarray], objects: int, rounds: int, way: Way | None
) -> dict[str, Any]:
    """Figures with the best `objects` of each frame; fewer where fewer are found. `way` is NanoSAM's, if it runs."""
    segmenter.max_objects = objects
    waits = Latencies()
    spent: list[float] = []
    theirs: list[float] = []
    found: list[int] = []
    before = segmenter.unconverged_frames

    def turns(pixels: np.ndarray) -> list[tuple[list[float], Callable[[], object]]]:
        both: list[tuple[list[float], Callable[[], object]]] = [(spent, lambda: ours(segmenter, pixels))]
        if way is not None:
            both.append((theirs, lambda: way(pixels, segmenter.confidence, segmenter.iou, objects)))
        return both

    warm_up(lambda: [work() for pixels in frames for _, work in turns(pixels)])
    for i in range(rounds):
        both = turns(frames[i % len(frames)])
        for times, work in both if i % 2 else reversed(both):  # whatever slows the first down hits both
            began = time.perf_counter()
            result: Any = work()
            times.append((time.perf_counter() - began) * 1e3)
            if times is spent:
                waits.add(segmenter.latency_ms)
                found.append(len(result))
    nanosam_ms = percentiles(theirs)
    latency_ms = percentiles(spent)
    stream_fps, stream_latency_ms = streamed(segmenter, frames, rounds)
    return {
        "objects": objects,
        "found": statistics.median(found),
        "latency_ms": latency_ms,
        "host_waits_ms": waits.summary(),
        "stream_fps": stream_fps,
        "stream_latency_ms": stream_latency_ms,
        "timeline": timeline(segmenter, frames, min(rounds, 50)),
        "nanosam_ms": nanosam_ms or None,
        "ratio": round(latency_ms["p50"] / nanosam_ms["p50"], 3) if nanosam_ms else None,
        "unconverged_frames": segmenter.unconverged_frames - before,  # whose NMS the host had to finish, of all
    }


def ours(segmenter: nanoseg.Segmenter, pixels: np.ndarray) -> Detections:
    """A frame in, every mask in its own region."""
    found = segmenter(pixels)
    crops(found)
    return found


def streamed(segmenter: nanoseg.Segmenter, frames: list[np.ndarray], rounds: int) -> tuple[float, dict[str, float]]:
    """Frames a second of stream(), their masks cut out; and what one of them takes from its start to its logits."""
    began, spent = 0.0, []
    first = len(frames)  # these make what two frames under way want
    for i, (_, found) in enumerate(segmenter.stream(frames[i % len(frames)] for i in range(first + rounds))):
        crops(found)
        if i >= first:
            spent.append(found.latency_ms["total"])
        elif i == first - 1:
            began = time.perf_counter()
    return round(rounds / (time.perf_counter() - began), 2), percentiles(spent)


def timeline(segmenter: nanoseg.Segmenter, frames: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """The medians of single frames' copies and gaps, and the spans of the last frame."""
    seen, spans = [], []
    with Timeline(segmenter.pipeline) as marks:  # type: ignore[arg-type]
        segmenter(frames[0])  # makes the events
        marks.spans()
        for i in range(rounds):
            segmenter(frames[i % len(frames)])
            spans = marks.spans()
            seen.append(summary(spans))
    medians = {name: round(statistics.median(each[name] for each in seen), 4) for name in FIELDS}
    return {**medians, "last": [span._asdict() for span in spans]}
