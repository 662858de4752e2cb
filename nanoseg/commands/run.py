"""`nanoseg run`: segment a source into images, a video, JSON lines, a window or the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nanoseg
from nanoseg.commands.frame_loop import Annotate, Tally, expected_frames, process_frames
from nanoseg.errors import INTERRUPTED, SourceError, UsageError
from nanoseg.sinks.images import ImageFolder
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.sink import Sink, StopRequested
from nanoseg.sources.open import open_source
from nanoseg.sources.source import MAX_PIXELS, Source
from nanoseg.types import Detections, Frame
from nanoseg.utils.terminal import plural, print_error, print_json, print_line

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


@dataclass(frozen=True)
class RunOptions:
    """Options of `nanoseg run`."""

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
    engines: Path | None = None  # folder of built engines


def run(options: RunOptions) -> int:
    """Run a source through a bundle and return the exit code: 0, or 130 after Ctrl-C.

    An image of a folder that cannot be read is reported on stderr and counted; it is an error only if none can be read.

    Raises:
        NanosegError: Something fails. If that is the source, after its first frame, the outputs hold the frames before,
            as they do after Ctrl-C.
    """
    if options.json and options.results == "-":
        raise UsageError("--json and --results - both want stdout; give --results a file")
    tally, interrupted, failure = Tally(), False, None
    segmenter: Segmenter | None = None
    source = open_source(options.source, max_pixels=options.max_pixels, on_error=tally.skip)
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            stack.callback(source.close)
            segmenter = stack.enter_context(
                nanoseg.load(
                    options.bundle,
                    options.backend,
                    confidence=options.confidence,
                    iou=options.iou,
                    max_objects=options.max_objects,
                    engines=options.engines,
                )
            )
            sinks = [stack.enter_context(sink) for sink in _sinks(options, source)]
            annotate = _annotator(options)
            started = time.perf_counter()
            process_frames(
                segmenter,
                source,
                sinks,
                tally,
                label="segmenting",
                count=expected_frames(source, options.limit),
                limit=options.limit,
                annotate=annotate,
                materialize=annotate is not None and options.results is not None,
                show_progress=bool(sinks) and options.results != "-",
                on_frame=None if sinks or options.json else _print_frame,
            )
    except StopRequested:
        pass
    except KeyboardInterrupt:
        interrupted = True
    except SourceError as error:
        failure = error
    seconds = time.perf_counter() - started
    if failure is not None and tally.frames == 0:
        raise failure
    for note in source.report.notes:
        print_error(note)
    _print_summary(options, source, tally, seconds, segmenter, interrupted)
    if failure is not None:
        raise failure
    return INTERRUPTED if interrupted else 0


def _annotator(options: RunOptions) -> Annotate | None:
    if options.out is None and not options.show:
        return None
    from nanoseg.sinks.annotate import Annotator

    return Annotator()


def _sinks(options: RunOptions, source: Source) -> Iterator[Sink]:
    if options.results is not None:
        yield JsonLines(options.results, source.paths)
    if options.out is not None:
        if source.fps is None:
            yield ImageFolder(options.out, source.paths)
        else:
            from nanoseg.sinks.video import Video

            yield Video(options.out / _video_name(options), source.fps, source.paths, source.video)
    if options.show:
        from nanoseg.sinks.window import Window

        yield Window()


def _video_name(options: RunOptions) -> str:
    return "parts.mp4" if options.source.startswith("parts:") else f"{Path(options.source).stem}.mp4"


def _print_frame(frame: Frame, found: Detections, annotated: np.ndarray | None) -> None:
    """Print `frame 3  belt.jpg  2 objects: 1 gear, 1 nut  41.3 ms`."""
    kinds = ", ".join(f"{number} {name}" for name, number in Counter(found.class_name.tolist()).most_common())
    objects = plural(len(found), "object") + (f": {kinds}" if kinds else "")
    name = "" if frame.name.startswith("parts:") else f"  {Path(frame.name).name}"
    print_line(f"frame {frame.index}{name}  {objects}  {found.latency_ms.get('total', 0.0):.1f} ms")


def _print_summary(
    options: RunOptions,
    source: Source,
    tally: Tally,
    seconds: float,
    segmenter: Segmenter | None,
    interrupted: bool,
) -> None:
    out = (
        None if options.out is None else str(options.out if source.fps is None else options.out / _video_name(options))
    )
    rate = tally.frames / seconds if seconds else 0.0
    if options.json:
        report: dict[str, Any] = {
            "source": options.source,
            "backend": segmenter.backend if segmenter else "",
            "device": segmenter.device if segmenter else "",
            "frames": tally.frames,
            "objects": tally.objects,
            "skipped": tally.skipped,
            "left_out": source.left_out,
            "damaged": source.report.damaged,
            "interrupted": interrupted,
            "fps": round(rate, 2),
            "latency_ms": tally.stages.summary(),
            "out": out,
            "results": options.results,
        }
        print_json(report)
        return
    parts = [plural(tally.frames, "frame"), plural(tally.objects, "object"), f"{rate:.1f} frames/s"]
    if tally.skipped:
        parts.append(f"{tally.skipped} skipped")
    line = ("interrupted after " if interrupted else "") + ", ".join(parts)
    outputs = [path for path in (out, options.results if options.results != "-" else None) if path]
    if outputs:
        line += " -> " + ", ".join(outputs)
    (print_error if options.results == "-" else print_line)(line)
