"""The loop that `nanoseg run` and `nanoseg demo` share: frames of a source through a segmenter to sinks."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.errors import SourceError, add_note
from nanoseg.sinks.sink import Sink, StopRequested
from nanoseg.sources.source import Source
from nanoseg.types import Detections, Frame
from nanoseg.utils.signals import uninterrupted
from nanoseg.utils.terminal import print_error, progress_bar
from nanoseg.utils.timing import Latencies, Stopwatch

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter
    from nanoseg.tracking.segmenter import TrackingSegmenter

Annotate = Callable[[Frame, Detections], np.ndarray]
OnFrame = Callable[[Frame, Detections, np.ndarray | None], None]


@dataclass
class Tally:
    """Counts and times of a loop, also of one that was cut short."""

    frames: int = 0
    objects: int = 0
    classes: Counter[str] = field(default_factory=Counter)  # objects by name
    skipped: int = 0  # images that could not be read
    spent_ms: float = 0.0  # reading, segmenting, drawing and writing
    segmenter_ms: float = 0.0  # the segmenter's part of that
    stages: Latencies = field(default_factory=Latencies)  # the segmenter's stages
    io_stages: Latencies = field(default_factory=Latencies)  # read, draw and write

    def add(self, found: Detections) -> None:
        """Count a frame that was segmented and written."""
        self.frames += 1
        self.objects += len(found)
        self.classes.update(found.class_name.tolist())
        self.segmenter_ms += found.latency_ms.get("total", 0.0)
        self.stages.add(found.latency_ms)

    def skip(self, error: SourceError) -> None:
        """Count an image that cannot be read, and report it on stderr; the loop goes on without it."""
        self.skipped += 1
        print_error(f"skipped: {error}")


@contextmanager
def open_sinks(sinks: Iterator[Sink], tally: Tally) -> Iterator[list[Sink]]:
    """Enter sinks as they are made, and leave all of them.

    Raises:
        Exception: One that ends the run has a note of the temporary files that the frames before are kept in.
    """
    opened: list[Sink] = []
    try:
        with ExitStack() as stack:
            while True:
                # A signal between the making of a sink and its entry here would leave its file.
                with uninterrupted():
                    if (sink := next(sinks, None)) is None:
                        break
                    stack.push(sink)
                    opened.append(sink)
                sink.__enter__()  # may wait for the reader of a pipe
            yield opened
    except Exception as error:
        if kept := ", ".join(str(sink.kept) for sink in opened if sink.kept):
            add_note(error, f"the frames before it ({tally.frames}) are in {kept}")
        raise


def process_frames(
    segmenter: Segmenter | TrackingSegmenter,
    frames: Iterable[Frame],
    sinks: Sequence[Sink],
    tally: Tally,
    *,
    label: str,
    count: int | None,
    limit: int | None = None,
    annotate: Annotate | None = None,
    materialize: bool = False,
    one_by_one: bool = False,
    show_progress: bool = True,
    on_frame: OnFrame | None = None,
) -> None:
    """Segment frames and write the results to sinks, until the frames end or `limit` is reached.

    Args:
        segmenter: Segments the frames.
        frames: Frames of a source.
        sinks: Take each frame with its detections.
        tally: Filled while the loop runs.
        label: Text in front of the progress bar.
        count: Number of frames for the progress bar; None where it is not known.
        limit: Stop after this many frames.
        annotate: Draws the detections on a copy of the frame, for the sinks.
        materialize: Compute the pixels of masks once, where more than one reader needs them.
        one_by_one: Finish a frame before the next is read, so that its latencies are those of a call. Of a stream on a
            GPU they contain the time of the sinks.
        show_progress: Show a progress bar where stderr is a terminal.
        on_frame: Called after the sinks; its time does not count.

    Raises:
        SourceError: Where the source fails; all frames before are in the sinks.
        StopRequested: Where a sink asks to stop, such as a window that the user closed.
    """

    def read() -> Iterator[Frame]:
        started_ns = time.perf_counter_ns()
        for frame in islice(frames, limit if limit is None else min(limit, sys.maxsize)):
            tally.io_stages.add({"read": (time.perf_counter_ns() - started_ns) / 1e6})
            yield frame
            started_ns = time.perf_counter_ns()

    pairs = ((frame, segmenter(frame)) for frame in read()) if one_by_one else segmenter.stream(read())
    # A frame is in all outputs or in none, unless a sink may keep it waiting.
    write_whole = nullcontext if any(sink.may_wait for sink in sinks) else uninterrupted
    with progress_bar(label, count, visible=show_progress) as advance:
        watch = Stopwatch()
        for frame, found in pairs:
            watch.resume()
            if materialize:
                found = found.materialize()
            annotated = annotate(frame, found) if annotate is not None else None
            watch.lap("draw")
            with write_whole():
                try:
                    for sink in sinks:
                        sink.write(frame, found, annotated)
                except StopRequested:  # the window comes last, and has shown it
                    tally.add(found)
                    raise
                tally.add(found)
            watch.lap("write")
            tally.spent_ms += watch.stop().pop("total")
            tally.io_stages.add(watch.latency_ms)
            if on_frame is not None:
                on_frame(frame, found, annotated)
            advance()
            watch = Stopwatch()


def expected_frames(source: Source, limit: int | None) -> int | None:
    """Return the number of frames of a source, for a progress bar; None where it is not known."""
    if limit is None:
        return source.count
    if source.count is None and source.paths:  # a video whose length is unknown
        return None
    return min(limit, source.count or limit)
