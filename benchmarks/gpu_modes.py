"""A segmenter on a GPU timed by the host's clock: frame by frame, as a stream, and against NanoSAM's way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gpu_stages import WARM_UP, Timeline, stages, summary

import nanoseg
from nanoseg.timing import Latencies, percentiles
from nanoseg.types import Detections

# pixels, confidence, IoU, objects -> masks
Way = Callable[[np.ndarray, float, float, int], Sequence[np.ndarray]]
FIELDS = ("copies_ms", "gaps_ms", "overlap_ms", "busy_ms", "whole_ms")


def measure(
    segmenter: nanoseg.Segmenter, frames: list[np.ndarray], objects: Sequence[int], rounds: int, way: Way | None
) -> dict[str, Any]:
    """All figures; `way` is NanoSAM's, where it can be run."""
    chain: Any = segmenter.chain
    return {
        "backend": segmenter.backend,
        "device": segmenter.device,
        "integrated": chain._rig.gpu.integrated,
        "frames_read_in_pinned_memory": chain.mapped,
        "graphs": chain._rig.gpu.graphs,
        "stages_ms": stages(chain, frames[0], rounds),
        "modes": [modes(segmenter, frames, count, rounds, way) for count in objects],
    }


def modes(
    segmenter: nanoseg.Segmenter, frames: list[np.ndarray], objects: int, rounds: int, way: Way | None
) -> dict[str, Any]:
    """Figures with the best `objects` of each frame; fewer where fewer are found."""
    segmenter.max_objects = objects
    waits, spent, theirs, found = Latencies(), [], [], []
    for i in range(WARM_UP + rounds):
        pixels = frames[i % len(frames)]
        turns: list[tuple[list[float], Callable[[], object]]] = [(spent, lambda pixels=pixels: ours(segmenter, pixels))]
        if way is not None:
            turns.append((theirs, lambda pixels=pixels: way(pixels, segmenter.confidence, segmenter.iou, objects)))
        for times, work in turns if i % 2 else reversed(turns):  # whatever slows the first down hits both
            began = time.perf_counter()
            answer = work()
            if i >= WARM_UP:
                times.append((time.perf_counter() - began) * 1e3)
                if times is spent:
                    waits.add(segmenter.latency_ms)
                    found.append(len(answer))
    nanosam_ms = percentiles(theirs)
    latency_ms = percentiles(spent)
    return {
        "objects": objects,
        "found": statistics.median(found),
        "latency_ms": latency_ms,
        "host_waits_ms": waits.summary(),
        "stream_fps": streamed(segmenter, frames, rounds),
        "timeline": timeline(segmenter, frames, min(rounds, 50)),
        "nanosam_ms": nanosam_ms or None,
        "ratio": round(latency_ms["p50"] / nanosam_ms["p50"], 3) if nanosam_ms else None,
    }


def ours(segmenter: nanoseg.Segmenter, pixels: np.ndarray) -> Detections:
    """A frame in, every mask in its own region."""
    found = segmenter(pixels)
    cut(found)
    return found


def cut(found: Detections) -> None:
    for index in range(len(found)):
        found.masks.crop(index)


def streamed(segmenter: nanoseg.Segmenter, frames: list[np.ndarray], rounds: int) -> float:
    """Frames a second of stream(), their masks cut out."""
    began = 0.0
    for i, found in enumerate(segmenter.stream(frames[i % len(frames)] for i in range(WARM_UP + rounds))):
        cut(found)
        if i == WARM_UP - 1:
            began = time.perf_counter()
    return round(rounds / (time.perf_counter() - began), 2)


def timeline(segmenter: nanoseg.Segmenter, frames: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """The medians of single frames' copies and gaps, and the spans of the last frame."""
    seen, spans = [], []
    with Timeline(segmenter.chain) as marks:  # type: ignore[arg-type]
        for i in range(rounds):
            segmenter(frames[i % len(frames)])
            spans = marks.spans()
            seen.append(summary(spans))
    medians = {name: round(statistics.median(each[name] for each in seen), 4) for name in FIELDS}
    return {**medians, "last": [span._asdict() for span in spans]}
