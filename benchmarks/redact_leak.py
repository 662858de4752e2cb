"""Count the pixels of redacted objects that can be recognised, on the simulated line with faults injected.

    python benchmarks/redact_leak.py                                   # 10 lines of 300 frames, about 5 minutes
    nohup python benchmarks/redact_leak.py --json leak.json > leak.log 2>&1 &
    python benchmarks/redact_leak.py --seed 1000500                    # other lines

Each of the embedded bundle's classes is redacted on its own, from the same detections. A true pixel counts where it
equals the source in the redacted frame and in the redacted negative of that frame: what is covered and has the source's
colour by chance has it in one of them alone. Every 50 frames there is a fault: the detector answers nothing, the
decoder raises, the frame is skipped, or (counted apart) the detector misses every object of the class. Parts of which
less than 15 % are visible are not in the simulator's truth. A run that was interrupted goes on after the
lines that --json holds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import common
import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.errors import EngineError
from nanoseg.processing.boxes import Boxes, box_iou
from nanoseg.segmenter import Segmenter
from nanoseg.sinks.redact import Redactor
from nanoseg.sources.open import LINE_FPS
from nanoseg.sources.simulator.line import LABELS, TEST_SEED, GroundTruth, SimulatedLine
from nanoseg.types import Frame

FRAMES_PER_LINE = 300
PERIOD, FIRST = 50, 30  # frames from one fault to the next, and before the first
FAULTS = (("nothing", 1), ("error", 10), ("missed", 10), ("skipped", 5), ("nothing", 20))  # kinds and frames, in turn
MISSED = "missed"
LIMIT = 0.001  # of a class's true pixels in a frame
COUNTS = ("frames", "over", "faults", "fault_leaks", "missed", "missed_over")


def fault_of(number: int, index: int) -> str:
    """Return the fault in frame `index` of line `number`, or an empty string; lines are not in step."""
    period, at = divmod(index - FIRST - 7 * number % PERIOD, PERIOD)
    kind, length = FAULTS[(period + number) % len(FAULTS)]
    return kind if period >= 0 and at < length else ""


def recognisable(source: np.ndarray, hidden: np.ndarray, negative_hidden: np.ndarray, mask: np.ndarray) -> int:
    """Return how many pixels of a mask (H, W) are those of the source, in the frame and in its negative."""
    pixels = source[mask]
    return int(np.count_nonzero(((hidden[mask] == pixels) & (negative_hidden[mask] == 255 - pixels)).all(1)))


class Watched:
    """One class that is redacted, and what of it could be recognised."""

    def __init__(self, class_id: int, **options: Any) -> None:
        """Redact a class in the frames of one line, with a redactor's options."""
        self.class_id = class_id
        self._redactors = Redactor([class_id], **options), Redactor([class_id], **options)
        self.counts = dict.fromkeys(COUNTS, 0)
        self.worst, self.covered = 0.0, list[float]()

    @property
    def confidence(self) -> float:
        """What the detections must go down to."""
        return self._redactors[0].least_confidence

    def add(self, frame: Frame, found: Boxes | None, truth: GroundTruth, fault: str) -> None:
        """Redact one frame and count."""
        mask = truth.masks[truth.class_id == self.class_id].any(0)
        if fault == MISSED and found is not None:
            found = without(found, truth.xyxy[truth.class_id == self.class_id])
        negative = replace(frame, image=255 - frame.image)
        hidden, negative_hidden = (
            redactor.redact(each, found).image
            for redactor, each in zip(self._redactors, (frame, negative), strict=True)
        )
        self.covered.append(float((hidden[::8, ::8] != frame.image[::8, ::8]).any(2).mean()))
        if not mask.any():
            return
        part = recognisable(frame.image, hidden, negative_hidden, mask) / int(np.count_nonzero(mask))
        self.counts["frames"] += 1
        if fault == MISSED:
            self.counts["missed"] += 1
            self.counts["missed_over"] += int(part > LIMIT)
        else:
            self.counts["over"] += int(part > LIMIT)
            self.worst = max(self.worst, float(part))
            if fault:
                self.counts["faults"] += 1
                self.counts["fault_leaks"] += int(part > 0)


def without(found: Boxes, objects: np.ndarray) -> Boxes:
    """Return boxes without those of certain objects (n, 4), whatever their class."""
    kept = ~(box_iou(found.xyxy, objects) > 0.3).any(1)
    return Boxes(found.xyxy[kept], found.confidence[kept], found.class_id[kept])


def detect(segmenter: Segmenter, frame: Frame, confidence: float, fault: str) -> Boxes | None:
    """Return what a frame loop passes to a redactor, with a fault injected."""
    try:
        if fault == "error":
            raise EngineError("decoder: injected")
        if fault == "skipped":
            return None
        if fault == "nothing":
            return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        return segmenter.detect(frame, confidence=confidence)
    except EngineError:
        return None


def measure_line(
    segmenter: Segmenter, seed: int, number: int, frames: int, size_wh: tuple[int, int], watched: list[Watched]
) -> Iterator[int]:
    """Redact the frames of one line in order; yields the number of each."""
    line = SimulatedLine(seed + number, size_wh)
    for index in range(frames):
        frame, truth = line.sample(index)
        frame = replace(frame, captured_ns=int(index * 1e9 / LINE_FPS))
        fault = fault_of(number, index)
        found = detect(segmenter, frame, watched[0].confidence, fault)
        for each in watched:
            each.add(frame, found, truth, fault)
        yield index


def measure(frames: int, size_wh: tuple[int, int], seed: int, kept: Path | None) -> dict[str, Any]:
    """Return the figures of `frames` frames of several lines; those of complete lines are written to `kept`."""
    lines: dict[str, Any] = json.loads(kept.read_text()).get("lines", {}) if kept and kept.is_file() else {}
    with nanoseg.load(EMBEDDED_FOLDER / EMBEDDED_BUNDLE, "onnxruntime") as segmenter:
        for number, first in enumerate(range(0, frames, FRAMES_PER_LINE)):
            if str(number) in lines:
                continue
            watched = [Watched(class_id) for class_id in range(len(LABELS))]
            length = min(FRAMES_PER_LINE, frames - first)
            for _ in measure_line(segmenter, seed, number, length, size_wh, watched):
                pass
            lines[str(number)] = {
                LABELS[each.class_id]: {**each.counts, "worst": each.worst, "covered": float(np.mean(each.covered))}
                for each in watched
            }
            if kept:
                common.write({"lines": lines}, kept)
            print(f"line {number}: {sum(row['over'] for row in lines[str(number)].values())} over", flush=True)
    report: dict[str, Any] = {"frames": f"{frames} of {size_wh[0]}x{size_wh[1]}, seeds from {seed}"}
    report |= {label: summary([line[label] for line in lines.values()]) for label in LABELS}
    report["all classes"] = summary([row for line in lines.values() for row in line.values()])
    return report


def summary(rows: list[dict[str, float]]) -> str:
    """Return the figures of a class over all lines in words."""
    count = {name: sum(row[name] for row in rows) for name in COUNTS}
    worst, covered = max(row["worst"] for row in rows), sum(row["covered"] for row in rows) / len(rows)
    return (
        f"{count['frames']} frames with it, {count['over']} with more than {LIMIT:.1%} recognisable, at most "
        f"{worst:.2%}; {count['faults']} with a fault, {count['fault_leaks']} with any; "
        f"{count['missed']} missed, {count['missed_over']} of them over; {covered:.0%} of the picture covered"
    )


def main() -> int:
    """Parse the flags and print the figures."""
    parser = common.flags(__doc__, frame="640x480", rounds=3000)
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="of the first line (default: %(default)s)")
    options = parser.parse_args()
    seed, kept = options.seed, options.json
    return common.run("redact_leak", options, lambda size_wh: measure(options.rounds, size_wh, seed, kept))


if __name__ == "__main__":
    sys.exit(main())
