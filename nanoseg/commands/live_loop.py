"""The loop of `nanoseg run` on live sources: each time the freshest frame, through one segmenter, to many sinks."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from nanoseg.deadline import DeadlineSegmenter
from nanoseg.sinks.background import Annotate, LiveResult
from nanoseg.sinks.live import LiveSinks
from nanoseg.tracking.segmenter import TrackingSegmenter, carrier
from nanoseg.types import Detections, Frame
from nanoseg.utils.histogram import Histogram
from nanoseg.utils.timing import frame_age_ms

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

STARTED, FINISHED = "started", "finished"  # of a frame: before and after the pipeline
_RECENT = 1000  # frames, for the status line


@dataclass
class LiveTally:
    """Counts, latencies and ages of a run without end, in memory that does not grow with it."""

    frames: int = 0  # that were segmented
    objects: int = 0
    classes: Counter[str] = field(default_factory=Counter)  # objects by name
    by_source: Counter[str] = field(default_factory=Counter)  # frames that were segmented
    shed: Counter[str] = field(default_factory=Counter)  # frames by what a deadline left out
    stages: dict[str, Histogram] = field(default_factory=dict)  # milliseconds of the segmenter's stages
    ages: dict[str, Histogram] = field(default_factory=lambda: {STARTED: Histogram(), FINISHED: Histogram()})
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RECENT))  # ages, objects

    def add(self, name: str, found: Detections) -> None:
        """Count a frame that was segmented."""
        self.frames += 1
        self.objects += len(found)
        self.classes.update(found.class_name.tolist())
        self.by_source[name] += 1
        for stage, spent_ms in found.latency_ms.items():
            self.stages.setdefault(stage, Histogram()).add(spent_ms)
        age_ms = found.age_ms or 0.0
        self.ages[FINISHED].add(age_ms)
        self.recent.append((age_ms, len(found)))

    def take_recent(self) -> list[tuple[float, int]]:
        """Return ages in milliseconds and numbers of objects of the frames since the last call."""
        taken = []
        while self.recent:
            taken.append(self.recent.popleft())
        return taken


def process_live(
    segmenter: Segmenter | TrackingSegmenter,
    frames: Iterable[Frame],
    sinks: LiveSinks,
    tally: LiveTally,
    *,
    limit: int | None = None,
    annotate: Annotate | None = None,
    deadline_ms: float | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Segment frames and pass the results to sinks, until the sources end or `limit` is reached.

    A frame is finished before the next one is taken: a stream, which starts a frame while another is under way, would
    hold each back until a fresh one is there.

    Args:
        segmenter: Segments the frames.
        frames: The freshest frame each time.
        sinks: Take each frame with its detections.
        tally: Filled while the loop runs.
        limit: Stop after this many segmented frames.
        annotate: Draws the detections on a copy of the frame, in the sinks' threads.
        deadline_ms: Milliseconds from a frame's capture to its masks, for which work is shed.
        now_ns: The clock of `Frame.captured_ns`.

    Raises:
        SourceError: No source gave a frame.
        StopRequested: Where a sink asks to stop, such as a window that the user closed.
    """
    by_deadline = None
    if deadline_ms is not None:
        by_deadline = DeadlineSegmenter(segmenter, carrier(segmenter), deadline_ms, now_ns)

    def segmented() -> Iterable[tuple[Frame, Detections]]:
        for frame in frames:
            tally.ages[STARTED].add(frame_age_ms(frame.captured_ns, now_ns()))
            found, shed = (segmenter(frame), ()) if by_deadline is None else by_deadline(frame)
            tally.shed.update(shed)
            if found is not None:
                yield frame, replace(found, age_ms=frame_age_ms(frame.captured_ns, now_ns()), shed=shed)

    for frame, found in islice(segmented(), limit):
        tally.add(frame.name, found)
        sinks.write(LiveResult(frame, found, annotate))
