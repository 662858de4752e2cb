"""`nanoseg run`: segment a source into images, a video, JSON lines, a dataset, a window or the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nanoseg
from nanoseg.commands.frame_loop import Annotate, Tally, expected_frames, open_sinks, process_frames
from nanoseg.commands.notes import note_machine_parts
from nanoseg.errors import INTERRUPTED, SourceError, UsageError
from nanoseg.sinks.open import Outputs
from nanoseg.sinks.sink import StopRequested
from nanoseg.sources.open import open_source
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.types import Detections, Frame
from nanoseg.utils.output_path import is_stdout
from nanoseg.utils.terminal import format_rate, plural, print_error, print_json, print_line
from nanoseg.utils.urls import file_path

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

SUMMARY_CLASSES = 5  # names that the summary counts


@dataclass(frozen=True)
class RunOptions:
    """Options of `nanoseg run`."""

    source: str
    bundle: str = "parts"
    out: Path | None = None  # a folder, or one image or video
    results: str | None = None  # a file, a folder for YOLO's labels, or - for stdout
    show: bool = False
    limit: int | None = None
    confidence: float | None = None
    iou: float | None = None
    max_objects: int | None = None
    max_pixels: int = MAX_PIXELS
    json: bool = False
    backend: str = "auto"
    engines: Path | None = None  # folder of built engines
    classes: Sequence[str] | None = None  # names or ids
    labels: bool = True  # what is drawn
    boxes: bool = True
    masks: bool = True


def run(options: RunOptions) -> int:
    """Run a source through a bundle and return the exit code: 0, or INTERRUPTED after KeyboardInterrupt.

    An image of a folder that cannot be read is reported on stderr and counted; it is an error only if none can be read.

    Raises:
        NanosegError: Something fails. If that is the source, after its first frame, the outputs hold the frames before,
            as they do after KeyboardInterrupt.
    """
    if options.results and is_stdout(Path(options.results)):
        options = replace(options, results="-")
    if options.json and options.results == "-":
        raise UsageError("--json and --results - both want stdout; give --results a file")
    tally, interrupted, failure = Tally(), False, None
    segmenter: Segmenter | None = None
    source = open_source(options.source, max_pixels=options.max_pixels, on_error=tally.skip)
    outputs = Outputs(source, _name(options.source), options.out, options.results, options.show)
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            stack.callback(source.close)
            annotate = _annotator(options)  # a library that it lacks is named before the bundle is loaded
            segmenter = stack.enter_context(
                nanoseg.load(
                    options.bundle,
                    options.backend,
                    confidence=options.confidence,
                    iou=options.iou,
                    max_objects=options.max_objects,
                    classes=options.classes,
                    engines=options.engines,
                )
            )
            sinks = stack.enter_context(open_sinks(outputs.sinks(segmenter.bundle.labels), tally))
            note_machine_parts(segmenter.bundle, options.source)
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
    _print_summary(options, outputs, tally, seconds, segmenter, interrupted)
    if failure is not None:
        raise failure
    return INTERRUPTED if interrupted else 0


def _annotator(options: RunOptions) -> Annotate | None:
    if options.out is None and not options.show:
        return None
    from nanoseg.sinks.annotate import Annotator

    return Annotator(labels=options.labels, boxes=options.boxes, masks=options.masks)


def _name(source: str) -> str:
    return "parts" if source.startswith("parts:") else Path(file_path(source) or source).stem


def _print_frame(frame: Frame, found: Detections, annotated: np.ndarray | None) -> None:
    """Print `frame 3  belt.jpg  2 objects: 1 gear, 1 nut  41.3 ms`."""
    kinds = _counts(Counter(found.class_name.tolist()), None)
    objects = plural(len(found), "object") + (f": {kinds}" if kinds else "")
    name = "" if frame.name.startswith("parts:") else f"  {Path(frame.name).name}"
    print_line(f"frame {frame.index}{name}  {objects}  {found.latency_ms.get('total', 0.0):.1f} ms")


def _counts(classes: Counter[str], limit: int | None) -> str:
    """Return `3 nut, 1 gear`, with the most frequent classes only where there are more than `limit`."""
    counts = [f"{number} {name}" for name, number in classes.most_common(limit)]
    return ", ".join(counts) + (" ..." if limit is not None and len(classes) > limit else "")


def _print_summary(
    options: RunOptions,
    outputs: Outputs,
    tally: Tally,
    seconds: float,
    segmenter: Segmenter | None,
    interrupted: bool,
) -> None:
    out = None if outputs.annotated is None else str(outputs.annotated)
    if options.json:
        report: dict[str, Any] = {
            "source": options.source,
            "backend": segmenter.backend if segmenter else "",
            "device": segmenter.device if segmenter else "",
            "frames": tally.frames,
            "objects": tally.objects,
            "classes": dict(tally.classes.most_common()),
            "skipped": tally.skipped,
            "left_out": outputs.source.left_out,
            "damaged": outputs.source.report.damaged,
            "interrupted": interrupted,
            "fps": round(tally.frames / seconds, 2) if seconds else 0.0,
            "latency_ms": tally.stages.summary(),
            "out": out,
            "results": options.results,
        }
        print_json(report)
        return
    objects = plural(tally.objects, "object")
    if tally.classes:
        objects += f" ({_counts(tally.classes, SUMMARY_CLASSES)})"
    parts = [plural(tally.frames, "frame"), objects]
    if tally.frames and seconds:
        parts.append(format_rate(tally.frames / seconds))
    if tally.skipped:
        parts.append(f"{tally.skipped} skipped")
    line = ("interrupted after " if interrupted else "") + ", ".join(parts)
    written = [path for path in (out, options.results if options.results != "-" else None) if path]
    if written:
        line += " -> " + ", ".join(written)
    (print_error if options.results == "-" else print_line)(line)
