"""`nanoseg demo`: a bundle at work, with pictures to look at and milliseconds a stage.

Without a source it is the embedded bundle on the simulated line, whose truth is known, so accuracy is told too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.errors import BundleError, SourceError
from nanoseg.evaluation.accuracy import METRICS, AccuracyMeter
from nanoseg.segmenter import Segmenter
from nanoseg.sinks.contact_sheet import ContactSheet
from nanoseg.sinks.images import ImageFolder
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.sink import Sink
from nanoseg.sinks.video import Video
from nanoseg.sources.open import LINE_FPS, open_source
from nanoseg.sources.simulator.demo_lines import DemoLines
from nanoseg.sources.simulator.line import LABELS, GroundTruth, SimulatedLine
from nanoseg.types import Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_atomic, write_errors
from nanoseg.utils.terminal import format_number, print_error, print_json, print_table, progress_bar
from nanoseg.utils.timing import Latencies, Stopwatch

VIDEO, PICTURES, SHEET = "annotated.mp4", "annotated", "contact-sheet.png"
RESULTS, REPORT = "results.jsonl", "report.json"


@dataclass(frozen=True, eq=False)
class Film:
    """What the demo is of."""

    about: str
    frames: Iterable[Frame]
    count: int | None
    fps: float | None  # None: separate pictures
    paths: tuple[Path, ...] = ()  # files that nothing may be written over
    truth: Callable[[int], GroundTruth] | None = None  # of a frame, by its index, where it is known


def line_film(count: int, shots: DemoLines | SimulatedLine | None = None) -> Film:
    """The first frames of the simulated test lines."""
    shots = shots or DemoLines()
    return Film("the simulated line", (shots.frame(i) for i in range(count)), count, LINE_FPS, truth=shots.truth)


def source_film(source: str, most: int) -> Film:
    """At most so many frames of a source; raises SourceError, and tells on stderr what it goes on without."""
    opened = open_source(source, on_problem=lambda error: print_error(f"skipped: {error}"))
    count = None if opened.count is None and opened.paths else min(most, opened.count or most)
    return Film(source, islice(opened, most), count, opened.fps, opened.paths)


def demo(
    out: Path,
    frames: int,
    as_json: bool = False,
    source: str | None = None,
    bundle: str | None = None,
    backend: str = "auto",
    engines: Path | None = None,
) -> dict[str, Any]:
    """Write the demo's files to `out`, tell the figures and return report.json's content. Raises NanosegError.

    A source that gives out on the way is told after what came before it is in place.
    """
    film = line_film(frames) if source is None else source_film(source, frames)
    sources = file_ids(film.paths)
    for name in (SHEET, REPORT):  # the sinks look to their own files
        refuse_overwriting(out / name, sources)
    # By its place: a folder of this name here is not what is meant.
    with nanoseg.load(bundle or EMBEDDED_FOLDER / EMBEDDED_BUNDLE, backend, engines=engines) as segmenter:
        if film.truth is not None and segmenter.bundle.labels != LABELS:
            raise BundleError(
                f"{segmenter.bundle.path}: not made for the simulated line; show it something of its own: "
                f"nanoseg demo PICTURES --bundle {bundle or 'parts'}"
            )
        report, gave_out = measure(segmenter, film, out)
    write_atomic(out / REPORT, msgspec.json.format(msgspec.json.encode(report)) + b"\n", guard=write_errors)
    if as_json:
        print_json(report)
    else:
        _tell(report, film, out)
    if gave_out is not None:
        raise gave_out
    return report


def measure(segmenter: Segmenter, film: Film, out: Path) -> tuple[dict[str, Any], SourceError | None]:
    """Run the film to files in `out`: the figures of report.json, and why the source gave out, where it did.

    `fps` is of everything a user waits for: reading or making the frame, segmenting, drawing, writing pictures and
    results. Comparing with the truth is not in it. Raises SourceError where not a single frame came.
    """
    # Here, not above: it brings a second of libraries, and a missing one should be told before the work.
    from nanoseg.sinks.annotate import Annotator

    latencies, sheet, paint = Latencies(), ContactSheet(), Annotator()
    scores = AccuracyMeter() if film.truth is not None else None
    count, spent_ms, segmenter_ms, gave_out = 0, 0.0, 0.0, None
    with ExitStack() as stack:
        sinks = [stack.enter_context(sink) for sink in _sinks(film, out)]
        advance = stack.enter_context(progress_bar(film.about, film.count))
        frames = iter(film.frames)
        while True:
            watch = Stopwatch()
            try:
                with watch.stage("read"):
                    frame = next(frames, None)
            except SourceError as error:
                if not count:
                    raise
                gave_out, frame = error, None
            if frame is None:
                break
            found = segmenter(frame)
            with watch.stage("draw"):
                found = found.made()  # for the picture, the record and the scores
                painted = paint(frame, found)
            with watch.stage("write"):
                for sink in sinks:
                    sink.write(frame, found, painted)
            spent_ms += watch.stop().pop("total")
            segmenter_ms += found.latency_ms["total"]
            latencies.add({**found.latency_ms, **watch.latency_ms})
            count += 1
            sheet.add(painted)
            if scores is not None and film.truth is not None:
                scores.add(film.truth(frame.index), found)
            advance()
        if not count:
            raise SourceError(f"{film.about}: gave no frame")
    write_atomic(out / SHEET, sheet.encode_png(), guard=write_errors)
    return {
        "backend": segmenter.backend,
        "device": segmenter.device,
        "frames": count,
        "fps": round(1e3 * count / spent_ms, 2),
        "fps_segmenter": round(1e3 * count / segmenter_ms, 2),
        "latency_ms": latencies.summary(),
        **(dict.fromkeys(METRICS) if scores is None else scores.result()),
    }, gave_out


def _sinks(film: Film, out: Path) -> Iterator[Sink]:
    yield JsonLines(out / RESULTS, film.paths)
    if film.fps is None:
        yield ImageFolder(out / PICTURES, film.paths)
    else:
        yield Video(out / VIDEO, film.fps, film.paths)


def _tell(report: dict[str, Any], film: Film, out: Path) -> None:
    latency_ms = report["latency_ms"]
    stages = (f"{stage} {spent['p50']:.1f}" for stage, spent in latency_ms.items() if stage != "total")
    total = latency_ms["total"]
    rows = [
        ("pictures", str(out / PICTURES)) if film.fps is None else ("video", str(out / VIDEO)),
        ("overview", str(out / SHEET)),
        ("results", str(out / RESULTS)),
        ("report", str(out / REPORT)),
        ("speed", f"{report['fps']:.1f} frames/s with drawing and writing, {report['fps_segmenter']:.1f} without"),
        ("a frame", f"{total['p50']:.1f} ms (p95 {total['p95']:.1f}, p99 {total['p99']:.1f})"),
        ("by stage", "  ".join(stages) + " ms"),
    ]
    if film.truth is not None:
        rows += [
            ("boxes", f"mAP50-95 {format_number(report['map50_95'])}, mAP50 {format_number(report['map50'])}"),
            (
                "masks",
                f"mIoU {format_number(report['miou'])} (small {format_number(report['miou_small'])}, "
                f"medium {format_number(report['miou_medium'])}, large {format_number(report['miou_large'])})",
            ),
        ]
    print_table(f"{report['frames']} frames of {film.about}, {report['backend']}, {report['device']}", rows)
