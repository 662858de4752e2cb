"""`nanoseg run`: segment a source into images, a video, JSON lines, a dataset, a window or the terminal."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nanoseg
from nanoseg.commands.frame_loop import Tally, expected_frames, open_sinks, process_frames
from nanoseg.commands.live_run import run_live
from nanoseg.commands.notes import note_machine_parts
from nanoseg.commands.run_options import RunOptions
from nanoseg.commands.run_report import annotator, class_counts, objects_by_class, print_last_line
from nanoseg.commands.run_tracks import open_tracks, tracking
from nanoseg.errors import INTERRUPTED, SourceError, UsageError
from nanoseg.sinks.open import Outputs
from nanoseg.sinks.sink import StopRequested
from nanoseg.sources.cameras import camera_urls
from nanoseg.sources.several import open_sources
from nanoseg.types import Detections, Frame
from nanoseg.utils.output_path import is_stdout
from nanoseg.utils.terminal import format_rate, plural, print_error, print_json, print_line
from nanoseg.utils.urls import file_path

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


def run(options: RunOptions) -> int:
    """Run sources through a bundle and return the exit code: 0, or INTERRUPTED after KeyboardInterrupt.

    Live sources are read side by side, see `run_live`; of several others each is a picture or has pictures. An image of
    a folder that cannot be read is reported on stderr and counted; it is an error only if none can be read.

    Raises:
        NanosegError: Something fails. If that is the source, after its first frame, the outputs hold the frames before,
            as they do after KeyboardInterrupt.
    """
    if options.out is not None and is_stdout(options.out):
        raise UsageError(f"--out {options.out}: stdout takes --results alone; give --out a file or a folder")
    if options.results and is_stdout(Path(options.results)):
        if Path(options.results).suffix.lower() == ".json":
            raise UsageError(
                f"--results {options.results}: stdout takes JSON lines alone, got a COCO file; name another file"
            )
        options = replace(options, results="-")
    if options.json and options.results == "-":
        raise UsageError("--json and --results - both want stdout; give --results a file")
    if urls := camera_urls(options.sources, options.live):
        return run_live(options, urls)
    for flag, value in (("--rotate", options.rotate), ("--deadline-ms", options.deadline_ms)):
        if value is not None:
            raise UsageError(f"{flag}: is for live sources; add --live to read {options.sources[0]} at its own pace")
    tally, interrupted, failure = Tally(), False, None
    segmenter: Segmenter | None = None
    source = open_sources(options.sources, max_pixels=options.max_pixels, on_error=tally.skip)
    outputs = Outputs(source, _name(options.sources[0]), options.out, options.results, options.show)
    started = time.perf_counter()
    try:
        with ExitStack() as stack:
            stack.callback(source.close)
            # A library that these lack is named before the bundle is loaded.
            annotate, tracks = annotator(options), open_tracks(options)
            segmenter = stack.enter_context(
                nanoseg.load(
                    options.bundle,
                    options.backend,
                    confidence=options.confidence,
                    iou=options.iou,
                    nms=options.nms,
                    max_objects=options.max_objects,
                    classes=options.classes,
                    engines=options.engines,
                )
            )
            sinks = stack.enter_context(open_sinks(outputs.sinks(segmenter.bundle.labels), tally))
            note_machine_parts(segmenter.bundle, options.sources[0])
            started = time.perf_counter()
            process_frames(
                tracking(segmenter, tracks, options),
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


def _name(source: str) -> str:
    return "parts" if source.startswith("parts:") else Path(file_path(source) or source).stem


def _print_frame(frame: Frame, found: Detections, annotated: np.ndarray | None) -> None:
    """Print `frame 3  belt.jpg  2 objects: 1 gear, 1 nut  41.3 ms`."""
    kinds = class_counts(Counter(found.class_name.tolist()))
    objects = plural(len(found), "object") + (f": {kinds}" if kinds else "")
    name = "" if frame.name.startswith("parts:") else f"  {Path(frame.name).name}"
    print_line(f"frame {frame.index}{name}  {objects}  {found.latency_ms.get('total', 0.0):.1f} ms")


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
            "source": options.sources[0] if len(options.sources) == 1 else list(options.sources),
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
    parts = [plural(tally.frames, "frame"), objects_by_class(tally.objects, tally.classes)]
    if tally.frames and seconds:
        parts.append(format_rate(tally.frames / seconds))
    if tally.skipped:
        parts.append(f"{tally.skipped} skipped")
    line = ("interrupted after " if interrupted else "") + ", ".join(parts)
    print_last_line(line, out, options.results, nothing_written=interrupted and not tally.frames)
