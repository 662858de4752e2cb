"""`nanoseg run`: a source through a bundle, to pictures, a video, JSON lines, a window or the terminal."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nanoseg
from nanoseg.errors import INTERRUPTED, SourceError, UsageError
from nanoseg.sinks.images import ImageFolder
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.sink import Sink, StopRequested
from nanoseg.sources.open import open_source
from nanoseg.sources.source import MAX_PIXELS, Source
from nanoseg.types import Detections, Frame
from nanoseg.utils.terminal import plural, print_error, print_json, print_line, progress_bar
from nanoseg.utils.timing import Latencies

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


@dataclass(frozen=True)
class Job:
    """What to run, on what, and where it goes."""

    source: str
    bundle: str = "parts"
    out: Path | None = None
    results: str | None = None  # a file, or - for stdout
    show: bool = False
    limit: int | None = None
    confidence: float | None = None
    iou: float | None = None
    max_objects: int | None = None
    max_pixels: int = MAX_PIXELS
    json: bool = False
    backend: str = "auto"
    engines: Path | None = None  # the folder of built ones


@dataclass
class Tally:
    """What was done."""

    frames: int = 0
    objects: int = 0
    skipped: int = 0  # pictures that could not be read
    seconds: float = 0.0
    backend: str = ""  # what ran it
    device: str = ""
    latencies: Latencies = field(default_factory=Latencies)

    def skip(self, error: SourceError) -> None:
        """A picture that the rest goes on without."""
        self.skipped += 1
        print_error(f"skipped: {error}")


def run(job: Job) -> int:
    """Do it and return the exit code: 0, or 130 after Ctrl-C, with everything written until then in place.

    A picture of a folder that cannot be read is told on stderr and counted; it is an error only if that was all of
    them. Raises NanosegError; a source that gives out on the way raises after its frames are in place.
    """
    if job.json and job.results == "-":
        raise UsageError("--json and --results - both want stdout; give --results a file")
    tally, interrupted, gave_out = Tally(), False, None
    source = open_source(job.source, max_pixels=job.max_pixels, on_problem=tally.skip)
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            segmenter = stack.enter_context(
                nanoseg.load(
                    job.bundle,
                    job.backend,
                    confidence=job.confidence,
                    iou=job.iou,
                    max_objects=job.max_objects,
                    engines=job.engines,
                )
            )
            tally.backend, tally.device = segmenter.backend, segmenter.device
            sinks = [stack.enter_context(sink) for sink in _sinks(job, source)]
            started = time.perf_counter()
            _loop(job, source, segmenter, sinks, tally)
    except StopRequested:
        pass
    except KeyboardInterrupt:
        interrupted = True
    except SourceError as error:
        gave_out = error
    tally.seconds = time.perf_counter() - started
    if gave_out is not None and tally.frames == 0:
        raise gave_out
    _close(job, source, tally, interrupted)
    if gave_out is not None:
        raise gave_out
    return INTERRUPTED if interrupted else 0


def _sinks(job: Job, source: Source) -> Iterator[Sink]:
    if job.results is not None:
        yield JsonLines(job.results, source.paths)
    if job.out is not None:
        if source.fps is None:
            yield ImageFolder(job.out, source.paths)
        else:
            from nanoseg.sinks.video import Video

            yield Video(job.out / _video_name(job), source.fps, source.paths)
    if job.show:
        from nanoseg.sinks.window import Window

        yield Window()


def _video_name(job: Job) -> str:
    return "parts.mp4" if job.source.startswith("parts:") else f"{Path(job.source).stem}.mp4"


def _loop(job: Job, source: Source, segmenter: Segmenter, sinks: list[Sink], tally: Tally) -> None:
    paint = None
    if job.out is not None or job.show:
        from nanoseg.sinks.annotate import Annotator

        paint = Annotator()
    count = source.count if job.limit is None else min(job.limit, source.count or job.limit)
    under_way: deque[Frame] = deque()  # a stream may take a frame before it gives what the one before shows

    def taken() -> Iterator[Frame]:
        for frame in islice(source, job.limit):
            under_way.append(frame)
            yield frame

    with progress_bar("segmenting", count, visible=bool(sinks) and job.results != "-") as advance:
        for found in segmenter.stream(taken()):
            frame = under_way.popleft()
            tally.frames += 1
            tally.objects += len(found)
            tally.latencies.add(found.latency_ms)
            if paint and job.results is not None:
                found = found.made()  # for the picture and for the record
            painted = paint(frame, found) if paint else None
            for sink in sinks:
                sink.write(frame, found, painted)
            if not sinks and not job.json:
                print_line(_line(frame, found))
            advance()


def _line(frame: Frame, found: Detections) -> str:
    """`frame 3  belt.jpg  2 objects: 1 gear, 1 nut  41.3 ms`."""
    kinds = ", ".join(f"{number} {name}" for name, number in Counter(found.class_name.tolist()).most_common())
    objects = plural(len(found), "object") + (f": {kinds}" if kinds else "")
    name = "" if frame.name.startswith("parts:") else f"  {Path(frame.name).name}"
    return f"frame {frame.index}{name}  {objects}  {found.latency_ms.get('total', 0.0):.1f} ms"


def _close(job: Job, source: Source, tally: Tally, interrupted: bool) -> None:
    out = None if job.out is None else str(job.out if source.fps is None else job.out / _video_name(job))
    rate = tally.frames / tally.seconds if tally.seconds else 0.0
    if job.json:
        report: dict[str, Any] = {
            "source": job.source,
            "backend": tally.backend,
            "device": tally.device,
            "frames": tally.frames,
            "objects": tally.objects,
            "skipped": tally.skipped,
            "interrupted": interrupted,
            "fps": round(rate, 2),
            "latency_ms": tally.latencies.summary(),
            "out": out,
            "results": job.results,
        }
        print_json(report)
        return
    parts = [plural(tally.frames, "frame"), plural(tally.objects, "object"), f"{rate:.1f} frames/s"]
    if tally.skipped:
        parts.append(f"{tally.skipped} skipped")
    line = ("interrupted after " if interrupted else "") + ", ".join(parts)
    where = [place for place in (out, job.results if job.results != "-" else None) if place]
    if where:
        line += " -> " + ", ".join(where)
    (print_error if job.results == "-" else print_line)(line)
