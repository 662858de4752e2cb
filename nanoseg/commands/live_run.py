"""`nanoseg run` on live sources: cameras, streams, and with --live any other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import nanoseg
from nanoseg.commands.live_loop import LiveTally, process_live
from nanoseg.commands.live_report import LiveReport, StatusText
from nanoseg.commands.notes import note_machine_parts
from nanoseg.commands.run_options import RunOptions
from nanoseg.commands.run_report import annotator, objects_by_class, print_last_line
from nanoseg.commands.run_tracks import open_tracks, tracking
from nanoseg.errors import INTERRUPTED
from nanoseg.sinks.live import LiveOutputs, LiveSinks
from nanoseg.sinks.sink import StopRequested
from nanoseg.sources.camera_url import CameraUrl, parse_camera_url
from nanoseg.sources.cameras import Cameras
from nanoseg.sources.open import open_source
from nanoseg.sources.source import Source
from nanoseg.utils.status_line import status_line
from nanoseg.utils.terminal import print_error, print_json

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

_FPS = 25.0  # nominal: frames of live sources have times


def run_live(options: RunOptions, urls: Sequence[CameraUrl]) -> int:
    """Run live sources through one bundle until they end, and return the exit code: 0, or INTERRUPTED.

    Args:
        options: those of the verb.
        urls: the sources, whose names differ.

    Raises:
        NanosegError: Something fails. A source that is lost does not; one that never comes does, at the start.
    """
    outputs = LiveOutputs(
        {url.name: _files(url, options.max_pixels) for url in urls},
        options.out,
        options.results,
        options.show,
        options.rotate,
    )
    tally, sinks, interrupted = LiveTally(), LiveSinks(), False
    segmenter: Segmenter | None = None
    with ExitStack() as sources:
        cameras = sources.enter_context(Cameras(urls, max_pixels=options.max_pixels, on_message=_print))
        started = time.perf_counter()
        try:
            with ExitStack() as stack:
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
                note_machine_parts(segmenter.bundle, _note_for(urls))
                sinks = stack.enter_context(
                    outputs.open(segmenter.bundle.labels, lambda name: sum(cameras.status()[name].dropped.values()))
                )
                stack.enter_context(
                    status_line(StatusText(tally, sinks, cameras.status), visible=options.results != "-")
                )
                started = time.perf_counter()
                process_live(
                    tracking(segmenter, tracks, options, by_source=True),
                    cameras.frames(on_idle=sinks.check),
                    sinks,
                    tally,
                    limit=options.limit,
                    annotate=annotate,
                    deadline_ms=options.deadline_ms,
                )
        except StopRequested:
            pass
        except KeyboardInterrupt:
            interrupted = True
        report = LiveReport(tally, cameras.status(), sinks, time.perf_counter() - started, interrupted)
    out, results = outputs.shown()
    if options.json:
        document = {
            "backend": segmenter.backend if segmenter else "",
            "device": segmenter.device if segmenter else "",
            **report.document({url.name: url.shown for url in urls}),
            "out": out,
            "results": results,
        }
        print_json(document)
    else:
        line = report.summary(objects_by_class(tally.objects, tally.classes))
        print_last_line(line, out, results, nothing_written=interrupted and not tally.frames)
    return INTERRUPTED if interrupted else 0


def _print(_: str, line: str) -> None:
    print_error(line)


def _files(url: CameraUrl, max_pixels: int) -> Source:
    """Return what a live source reads, without frames; raises the error of one that is not there."""
    behind = url
    while behind.kind == "faults":
        behind = parse_camera_url(behind.address, live=True) or behind
    if behind.kind != "live":
        return Source((), None, _FPS)
    source = open_source(behind.address, max_pixels=max_pixels)
    source.close()
    return Source((), None, _FPS, source.paths)


def _note_for(urls: Sequence[CameraUrl]) -> str:
    """Return a source that is not the simulated line, if there is one."""
    return next((url.shown for url in urls if not url.address.startswith("parts:")), urls[0].shown)
