"""Latency of a segmenter, from a frame in memory to raster masks in memory: by call, as a stream, from a camera."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Literal

import numpy as np

from nanoseg.errors import SourceError
from nanoseg.processing.boxes import Boxes
from nanoseg.segmenter import Segmenter
from nanoseg.types import Frame
from nanoseg.utils.timing import frame_age_ms

STAGES = ("prepare", "detect", "embed", "segment", "masks")
END_TO_END = "end_to_end"  # of a call: all stages, and what is between them
INTERVAL = "interval"  # of a stream: from one frame's masks to the next one's
AGE = "age"  # of a camera's frame: from its capture to its masks
BOX_SHARE = 0.08  # of the frame, the area of a box that stands for an object
MAX_OBJECTS = 64
MAX_FRAMES = 200_000  # of a series, where its least duration wants more
_GRID = 8
_SPREAD = 0.33  # of the frame, from its centre to the centres of the outermost boxes

Mode = Literal["call", "stream", "camera"]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    queries: int  # at least so many frames
    seconds: float  # and at least so long
    warm_up: int  # frames before

    def enough(self, count: int, spent_s: float) -> bool:
        """Whether so many frames in so many seconds are enough."""
        return count >= self.queries and (spent_s >= self.seconds or count >= MAX_FRAMES)


@dataclass
class Series:
    """Latencies of successive frames by stage, milliseconds."""

    mode: Mode
    spent_ms: dict[str, array[float]] = field(default_factory=dict)
    seconds: float = 0.0  # that all frames took
    objects: list[int] = field(default_factory=list)  # masks of each frame

    def add(self, stage: str, spent_ms: float) -> None:
        """Add a latency of a stage."""
        self.spent_ms.setdefault(stage, array("f")).append(spent_ms)

    @property
    def frames_per_s(self) -> float:
        """Frames a second over the whole series."""
        return len(self.objects) / self.seconds if self.seconds else 0.0


class FixedObjects(Segmenter):
    """A segmenter that detects as always, and then segments the same boxes in each frame, whatever was found.

    So the number of objects is what is asked for, and every stage does its work: the detector with its NMS at the
    bundle's threshold, the encoder, and the decoder with one prompt a box. Its results are no detections.
    """

    boxes: Boxes | None = None  # None: those that were found

    def __enter__(self) -> FixedObjects:
        return self

    def _boxes(self, frame: Any) -> tuple[Boxes, float]:
        found, complete = super()._boxes(frame)
        if self.boxes is None:
            return found, complete
        pose = found.keypoints
        keypoints = None if pose is None else np.zeros((len(self.boxes.xyxy), *pose.shape[1:]), np.float32)
        return self.boxes._replace(keypoints=keypoints), complete


def fixed_boxes(count: int, size_wh: tuple[int, int]) -> Boxes:
    """Return boxes of 8 % of the frame each, spread over it; they overlap by less than boxes that share a mask.

    Args:
        count: their number, at most 64.
        size_wh: the frame's width and height.
    """
    # Of a grid, points in an order that spreads any number of them: bits of the index, reversed.
    order = sorted(range(_GRID * _GRID), key=lambda index: int(f"{index:06b}"[::-1], 2))
    side = np.sqrt(BOX_SHARE)
    rows, columns = np.divmod(np.array(order[:count]), _GRID)
    centers = (np.stack([columns, rows], 1) / (_GRID - 1) - 0.5) * 2 * _SPREAD + 0.5
    corners = np.concatenate([centers - side / 2, centers + side / 2], 1)
    xyxy = (corners * np.array([*size_wh, *size_wh])).astype(np.float32)
    return Boxes(xyxy, np.ones(count, np.float32), np.zeros(count, np.int64))


def measure_calls(
    segmenter: Segmenter, frames: Sequence[Frame], effort: Effort, advance: Callable[[], None] = lambda: None
) -> Series:
    """Return latencies of calls, one after another: a frame in, its raster masks out."""
    series = Series("call")
    endless = cycle(frames)
    for _ in range(effort.warm_up):
        segmenter(next(endless)).materialize()
    began_ns = time.perf_counter_ns()
    while not effort.enough(len(series.objects), (time.perf_counter_ns() - began_ns) / 1e9):
        time_call(segmenter, next(endless), series)
        advance()
    series.seconds = (time.perf_counter_ns() - began_ns) / 1e9
    return series


def time_call(segmenter: Segmenter, frame: Frame, series: Series) -> None:
    """Add one call to a series."""
    started_ns = time.perf_counter_ns()
    found = segmenter(frame)
    found_ns = time.perf_counter_ns()
    found.materialize()
    ended_ns = time.perf_counter_ns()
    stages = {**found.latency_ms, "masks": (ended_ns - found_ns) / 1e6}
    for stage in STAGES:
        series.add(stage, stages.get(stage, 0.0))
    series.add(END_TO_END, (ended_ns - started_ns) / 1e6)
    series.objects.append(len(found))


def measure_stream(
    segmenter: Segmenter, frames: Sequence[Frame], effort: Effort, advance: Callable[[], None] = lambda: None
) -> Series:
    """Return the times between the masks of successive frames of `stream`, which overlaps frames on a GPU."""
    series = Series("stream")
    began_ns = last_ns = 0
    done = False

    def feed() -> Iterator[Frame]:
        for frame in cycle(frames):
            if done:
                return
            yield frame

    skip = max(effort.warm_up, 1)
    for index, (_, found) in enumerate(segmenter.stream(feed())):
        found.materialize()
        now_ns = time.perf_counter_ns()
        if index >= skip and not done:
            series.add(INTERVAL, (now_ns - last_ns) / 1e6)
            series.objects.append(len(found))
            done = effort.enough(len(series.objects), (now_ns - began_ns) / 1e9)
            series.seconds = (now_ns - began_ns) / 1e9
            advance()
        elif not done:
            began_ns = now_ns
        last_ns = now_ns
    return series


def measure_camera(
    segmenter: Segmenter, frames: Iterable[Frame], effort: Effort, advance: Callable[[], None] = lambda: None
) -> Series:
    """Return latencies of a live source's newest frames, from capture to masks, with the objects that are found.

    Raises:
        SourceError: The source ends too early.
    """
    series = Series("camera")
    began_ns = 0
    for index, frame in enumerate(frames):
        if index < effort.warm_up:
            segmenter(frame).materialize()
            continue
        began_ns = began_ns or time.perf_counter_ns()
        time_call(segmenter, frame, series)
        series.add(AGE, frame_age_ms(frame.captured_ns, time.time_ns()))
        series.seconds = (time.perf_counter_ns() - began_ns) / 1e9
        advance()
        if effort.enough(len(series.objects), series.seconds):
            return series
    raise SourceError(
        f"the source ended after {len(series.objects)} of {effort.queries} frames; measure with fewer --queries"
    )
