"""`nanoseg demo`: annotated images or a video of a bundle, with its speed and the latency of each stage.

Without a source the embedded bundle runs on the simulated line, whose ground truth is known: accuracy is measured, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.commands.earlier_demo import IMAGES, REPORT, RESULTS, SHEET, VIDEO, EarlierDemo
from nanoseg.commands.frame_loop import Tally, expected_frames, open_sinks, process_frames
from nanoseg.commands.notes import note_machine_parts
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
from nanoseg.sources.source import Source
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_atomic, write_errors
from nanoseg.utils.names import encode_json
from nanoseg.utils.terminal import format_number, format_rate, print_error, print_json, print_table


@dataclass(frozen=True, eq=False)
class DemoInput:
    """The frames of a demo, and their ground truth where it is known."""

    label: str
    source: Source
    truth: Callable[[int], GroundTruth] | None = None  # of a frame, by its index


def simulated_input(limit: int, lines: DemoLines | SimulatedLine | None = None) -> DemoInput:
    """Return the first frames of the simulated test lines."""
    lines = lines or DemoLines()
    return DemoInput(
        "the simulated line", Source((lines.frame(i) for i in range(limit)), limit, LINE_FPS), truth=lines.truth
    )


def demo(
    out: Path,
    limit: int,
    as_json: bool = False,
    source: str | None = None,
    bundle: str | None = None,
    backend: str = "auto",
    engines: Path | None = None,
) -> dict[str, Any]:
    """Write the demo's files, print its figures and return them.

    Args:
        out: Folder to write to.
        limit: Number of frames, at most.
        as_json: Print the report as JSON instead of a table.
        source: As `nanoseg run` takes it; None for the simulated line.
        bundle: A bundle's name or folder; None for the embedded one.
        backend: One of nanoseg.backends.select.BACKENDS.
        engines: Folder of built engines.

    Returns:
        The content of report.json.

    Raises:
        NanosegError: Something fails. If that is the source, after its first frame, the files hold the frames before.
        KeyboardInterrupt: Likewise; before the first frame nothing is written.
    """
    tally = Tally()
    demo_input = (
        simulated_input(limit) if source is None else DemoInput(source, open_source(source, on_error=tally.skip))
    )
    bundle_name = bundle or EMBEDDED_BUNDLE
    earlier = EarlierDemo(out, demo_input.label, bundle_name)
    sources = file_ids(demo_input.source.paths)
    for name in (SHEET, REPORT):  # the sinks check their own files
        refuse_overwriting(out / name, sources)
    from nanoseg.sinks import annotate  # noqa: F401 - a library that it lacks is named before the bundle is loaded

    # By its path: a folder of that name in the working directory is not meant.
    with nanoseg.load(bundle or EMBEDDED_FOLDER / EMBEDDED_BUNDLE, backend, engines=engines) as segmenter:
        if demo_input.truth is not None and segmenter.bundle.labels != LABELS:
            raise BundleError(
                f"{segmenter.bundle.path}: not made for the simulated line; run it on your own images: "
                f"nanoseg demo SOURCE --bundle {bundle or 'parts'}"
            )
        if source is not None:
            note_machine_parts(segmenter.bundle, source)
        report, failure = measure(segmenter, demo_input, out, limit=limit, tally=tally)
    report |= {"source": demo_input.label, "bundle": bundle_name}
    earlier.remove_leftovers()
    write_atomic(out / REPORT, encode_json(report, indent=True), guard=write_errors)
    if as_json:
        print_json(report)
    else:
        _print_report(report, demo_input, out)
    if failure is not None:
        raise failure
    return report


def measure(
    segmenter: Segmenter, demo_input: DemoInput, out: Path, *, limit: int, tally: Tally | None = None
) -> tuple[dict[str, Any], SourceError | KeyboardInterrupt | None]:
    """Segment the frames, write the files but for the report, and compare the detections with the truth.

    Args:
        segmenter: Segments the frames.
        demo_input: The frames.
        out: Folder to write to.
        limit: Number of frames, at most.
        tally: Filled while the loop runs.

    Returns:
        The content of report.json, and what ended the run after its first frame. `fps` counts all that
        a user waits for: reading or drawing the frame, segmenting, drawing, writing images and results, but not the
        comparison with the truth.

    Raises:
        SourceError: The source has no frame.
    """
    # Not at the top: it loads a second of libraries, and a missing one should be reported before the work.
    from nanoseg.sinks.annotate import Annotator

    sheet = ContactSheet()
    failure: SourceError | KeyboardInterrupt | None = None
    tally = tally or Tally()
    accuracy = AccuracyMeter() if demo_input.truth is not None else None

    def on_frame(frame: Frame, found: Detections, annotated: np.ndarray | None) -> None:
        if annotated is not None:
            sheet.add(annotated)
        if accuracy is not None and demo_input.truth is not None:
            accuracy.add(demo_input.truth(frame.index), found)

    try:
        with ExitStack() as stack:
            stack.callback(demo_input.source.close)
            process_frames(
                segmenter,
                demo_input.source,
                stack.enter_context(open_sinks(_sinks(demo_input.source, out), tally)),
                tally,
                label=demo_input.label,
                count=expected_frames(demo_input.source, limit),
                limit=limit,
                annotate=Annotator(),
                materialize=True,
                one_by_one=True,
                on_frame=on_frame,
            )
            if not tally.frames:
                raise SourceError(f"{demo_input.label}: gave no frame")
    except (SourceError, KeyboardInterrupt) as error:
        if not tally.frames or sheet.is_empty:
            raise
        failure = error
    for note in demo_input.source.report.notes:
        print_error(note)
    write_atomic(out / SHEET, sheet.encode_png(), guard=write_errors)
    return {
        "backend": segmenter.backend,
        "device": segmenter.device,
        "frames": tally.frames,
        "fps": _rate(tally.frames, tally.spent_ms),
        "fps_segmenter": _rate(tally.frames, tally.segmenter_ms),
        "latency_ms": {**tally.stages.summary(), **tally.io_stages.summary()},
        **(dict.fromkeys(METRICS) if accuracy is None else accuracy.result()),
        "interrupted": isinstance(failure, KeyboardInterrupt),
    }, failure


def _rate(frames: int, spent_ms: float) -> float:
    rate = 1e3 * frames / spent_ms if spent_ms else 0.0  # interrupted in the first frame
    return round(rate, 2 if rate >= 1 else 6)


def _sinks(source: Source, out: Path) -> Iterator[Sink]:
    if source.fps is None:
        images = ImageFolder(out / IMAGES, source.paths)
        yield images
        yield JsonLines(out / RESULTS, source.paths, images.path)
    else:
        yield JsonLines(out / RESULTS, source.paths)
        yield Video(out / VIDEO, source.fps, source.paths, source.video)


def _print_report(report: dict[str, Any], demo_input: DemoInput, out: Path) -> None:
    latency_ms = report["latency_ms"]
    stages = (f"{stage} {spent['p50']:.1f}" for stage, spent in latency_ms.items() if stage != "total")
    total = latency_ms["total"]
    rows = [
        ("images", str(out / IMAGES)) if demo_input.source.fps is None else ("video", str(out / VIDEO)),
        ("overview", str(out / SHEET)),
        ("results", str(out / RESULTS)),
        ("report", str(out / REPORT)),
        (
            "speed",
            f"{format_rate(report['fps'])} with drawing and writing, {format_rate(report['fps_segmenter'])} without",
        ),
        ("a frame", f"{total['p50']:.1f} ms (p95 {total['p95']:.1f}, p99 {total['p99']:.1f})"),
        ("by stage", "  ".join(stages) + " ms"),
    ]
    if demo_input.truth is not None:
        rows += [
            ("boxes", f"mAP50-95 {format_number(report['map50_95'])}, mAP50 {format_number(report['map50'])}"),
            (
                "masks",
                f"mIoU {format_number(report['miou'])} (small {format_number(report['miou_small'])}, "
                f"medium {format_number(report['miou_medium'])}, large {format_number(report['miou_large'])})",
            ),
        ]
    interrupted = "interrupted after " if report["interrupted"] else ""
    print_table(
        f"{interrupted}{report['frames']} frames of {demo_input.label}, {report['backend']}, {report['device']}", rows
    )
