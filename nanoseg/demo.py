"""`nanoseg demo`: the embedded bundle on the simulated line, its accuracy against the truth, milliseconds a stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

import nanoseg
from nanoseg.bundle import EMBEDDED
from nanoseg.errors import BundleError, needs
from nanoseg.evaluation.miou import MaskIou
from nanoseg.segmenter import Segmenter
from nanoseg.sinks import JsonLines, make_folder, write_whole
from nanoseg.sources.opening import LINE_FPS
from nanoseg.sources.parts import LABELS, TEST_SEED, Line, Truth
from nanoseg.terminal import figure, progress, say_json, say_table
from nanoseg.timing import Latencies, Stopwatch
from nanoseg.types import Frame
from nanoseg.video_sink import Video

with needs("OpenCV", "opencv"):
    import cv2

VIDEO, SHEET, RESULTS, REPORT = "annotated.mp4", "contact-sheet.png", "results.jsonl", "report.json"
_SHEET_TILES = 9


SHOT_FRAMES = 30  # so long one line is shown, then the next


class Shots:
    """The test lines one after another, a shot of each: one belt with its dozen parts would be a small sample."""

    def __init__(self) -> None:
        self._line = Line(TEST_SEED)

    def frame(self, index: int) -> Frame:
        """Frame `index` of the film."""
        return replace(self._turn_to(index).frame(index % SHOT_FRAMES), index=index)

    def truth(self, index: int) -> Truth:
        """What that frame shows."""
        return self._turn_to(index).truth(index % SHOT_FRAMES)

    def _turn_to(self, index: int) -> Line:
        seed = TEST_SEED + index // SHOT_FRAMES
        if self._line.seed != seed:
            self._line = Line(seed)
        return self._line


class _Boxes(NamedTuple):
    """What is kept of a frame until the mAP is computed: not its masks."""

    xyxy: np.ndarray
    class_id: np.ndarray
    confidence: np.ndarray


def demo(out: Path, frames: int, as_json: bool = False) -> dict[str, Any]:
    """Write the four files to `out`, tell the figures and return report.json's content. Raises NanosegError."""
    make_folder(out)
    # By its place: a folder of this name here is not what is meant.
    with nanoseg.load(EMBEDDED / "parts") as segmenter:
        if segmenter.bundle.labels != LABELS:
            raise BundleError(f"{segmenter.bundle.path}: not made for the simulated line; fetch the bundle anew")
        report = measure(segmenter, Shots(), out, frames)
    write_whole(out / REPORT, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if as_json:
        say_json(report)
    else:
        _tell(report, out)
    return report


def measure(segmenter: Segmenter, shots: Shots, out: Path, frames: int) -> dict[str, Any]:
    """Run the first frames of the film to files in `out`, and the figures of report.json.

    `fps` is of everything a user waits for: making the frame, segmenting, drawing, writing video and results.
    Comparing with the truth is not in it.
    """
    # Here, not above: each brings a second of libraries, and a missing one should be told before the work.
    from nanoseg.drawing import Painter
    from nanoseg.evaluation.coco import coco_map

    latencies, found_boxes, truths, ious = Latencies(), [], [], MaskIou()
    tiles: list[np.ndarray] = []
    wanted = set(np.linspace(0, frames - 1, min(frames, _SHEET_TILES)).round().astype(int).tolist())
    paint = Painter()
    spent_ms, segmenter_ms = 0.0, 0.0
    with ExitStack() as stack:
        results = stack.enter_context(JsonLines(out / RESULTS))
        video = stack.enter_context(Video(out / VIDEO, LINE_FPS))
        advance = stack.enter_context(progress("the simulated line", frames))
        for index in range(frames):
            watch = Stopwatch()
            with watch.stage("read"):
                frame = shots.frame(index)
            found = segmenter(frame)
            with watch.stage("draw"):
                painted = paint(frame, found)
            with watch.stage("write"):
                results.write(frame, found)
                video.write(frame, found, painted)
            spent_ms += watch.stop().pop("total")
            segmenter_ms += found.latency_ms["total"]
            latencies.add({**found.latency_ms, **watch.latency_ms})
            truth = shots.truth(index)
            ious.add(truth, found)
            truths.append(_Boxes(truth.xyxy, truth.class_id, np.ones(len(truth), np.float32)))
            found_boxes.append(_Boxes(found.xyxy, found.class_id, found.confidence))
            if index in wanted:
                tiles.append(painted)
            advance()
    write_whole(out / SHEET, contact_sheet(tiles))
    return {
        # The embedded bundle runs on ONNX Runtime everywhere; the device tells which of its providers.
        "backend": "onnxruntime-cuda" if segmenter.device == "CUDA" else "onnxruntime",
        "device": segmenter.device,
        "frames": frames,
        "fps": round(1e3 * frames / spent_ms, 2),
        "fps_segmenter": round(1e3 * frames / segmenter_ms, 2),
        "latency_ms": latencies.summary(),
        **_rounded(coco_map(truths, found_boxes)._asdict()),
        **_rounded(ious.result()._asdict()),
    }


def contact_sheet(tiles: Sequence[np.ndarray]) -> bytes:
    """Pictures of one size side by side, three in a row, as a PNG file."""
    columns = min(3, math.ceil(math.sqrt(len(tiles))))
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for tile, place in zip(tiles, count()):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = tile
    _, data = cv2.imencode(".png", sheet)
    return data.tobytes()


def _rounded(scores: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in scores.items()}


def _tell(report: dict[str, Any], out: Path) -> None:
    latency_ms = report["latency_ms"]
    stages = (f"{stage} {spent['p50']:.1f}" for stage, spent in latency_ms.items() if stage != "total")
    total = latency_ms["total"]
    say_table(
        f"{report['frames']} frames of the simulated line, {report['backend']}, {report['device']}",
        [
            ("video", str(out / VIDEO)),
            ("pictures", str(out / SHEET)),
            ("results", str(out / RESULTS)),
            ("report", str(out / REPORT)),
            ("speed", f"{report['fps']:.1f} frames/s with drawing and writing, {report['fps_segmenter']:.1f} without"),
            ("a frame", f"{total['p50']:.1f} ms (p95 {total['p95']:.1f}, p99 {total['p99']:.1f})"),
            ("by stage", "  ".join(stages) + " ms"),
            ("boxes", f"mAP50-95 {figure(report['map50_95'])}, mAP50 {figure(report['map50'])}"),
            (
                "masks",
                f"mIoU {figure(report['miou'])} (small {figure(report['miou_small'])}, "
                f"medium {figure(report['miou_medium'])}, large {figure(report['miou_large'])})",
            ),
        ],
    )
