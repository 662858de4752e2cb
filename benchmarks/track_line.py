"""Measure tracking on the simulated line at 30 frames a second: HOTA, IDF1, MOTA and sMOTSA, and what a frame takes.

    python benchmarks/track_line.py                            # 150 frames of each of six test lines
    python benchmarks/track_line.py --rounds 300 --json track.json

Every tracker sees the same detections; with `every 3` only those of one frame of three, and in between what it has
carried itself. Truth are the parts of which 15 % are visible, with the simulator's identities; classes do not count.
Objects without an identity count as not found. A frame's time is without reading and drawing; those with and without
detection are measured in turns, frame by frame, and `expected_ms` is what detecting less should leave: the time of a
frame without its detection (and with the tracker's prediction) on two of three.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

import common
import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.evaluation.tracking import TrackScores, Video, mask_iou, score_tracks
from nanoseg.processing.boxes import box_iou
from nanoseg.processing.masks import best_per_prompt
from nanoseg.segmenter import Segmenter
from nanoseg.sources.simulator.line import TEST_SEED, GroundTruth, SimulatedLine
from nanoseg.tracking.library import open_tracks
from nanoseg.tracking.segmenter import TrackingSegmenter
from nanoseg.tracking.tracker import TRACKERS
from nanoseg.types import Detections, Frame

LINES, FPS = 6, 30
EVERY = (2, 3, 5)


class Once(Segmenter):
    """A segmenter that looks at each frame once, however many ask."""

    last: tuple[Frame, Detections] | None = None

    def __call__(self, image: Any, **options: Any) -> Detections:
        """Return what was found in the frame."""
        if self.last is None or self.last[0] is not image:
            self.last = image, super().__call__(image, **options)
        return self.last[1]


class Course:
    """A tracker's way through the frames of a line."""

    def __init__(self, tracking: TrackingSegmenter) -> None:
        """Start before the first frame."""
        self.tracking = tracking
        self.truth_ids: list[np.ndarray] = []
        self.found_ids: list[np.ndarray] = []
        self.ious: dict[str, list[np.ndarray]] = {"boxes": [], "masks": []}

    def add(self, frame: Frame, truth: GroundTruth) -> Detections:
        """Track the objects of the next frame, and compare them with the truth."""
        found = self.tracking(frame)
        assert found.track_id is not None
        best = best_per_prompt(found.confidence, found.masks.same)
        tracked = found.select(best[found.track_id[best] >= 0])
        assert tracked.track_id is not None
        self.truth_ids.append(truth.track_id)
        self.found_ids.append(tracked.track_id)
        self.ious["boxes"].append(box_iou(truth.xyxy, tracked.xyxy))
        self.ious["masks"].append(mask_iou(truth.masks, tracked.mask))
        return found

    def scores(self, of: str) -> TrackScores:
        """Return the figures of boxes or of masks."""
        return score_tracks(Video(self.truth_ids, self.found_ids, self.ious[of]))


def measure(rounds: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return figures by tracker, over `rounds` frames of (width, height) of each line."""
    names = [*TRACKERS, *(f"{TRACKERS[0]} every {every}" for every in EVERY)]
    scores: dict[str, list[tuple[TrackScores, TrackScores]]] = {name: [] for name in names}
    times_ms: dict[str, list[dict[str, float]]] = defaultdict(list)
    with nanoseg.load(EMBEDDED_FOLDER / EMBEDDED_BUNDLE) as loaded:
        segmenter = Once(loaded.bundle, loaded.pipeline)
        for line in (SimulatedLine(TEST_SEED + number, size_wh) for number in range(LINES)):
            courses = {name: _course(segmenter, name) for name in names}
            for index in range(rounds):
                frame, truth = line.sample(index)
                frame = replace(frame, media_ns=int(index * 1e9 / FPS))
                for name, course in courses.items():
                    times_ms[name].append(dict(course.add(frame, truth).latency_ms))
            for name, course in courses.items():
                scores[name].append((course.scores("boxes"), course.scores("masks")))
    report: dict[str, Any] = {"frames": f"{rounds} of each of {LINES} lines", "frame": f"{size_wh[0]}x{size_wh[1]}"}
    for name in names:
        report[name] = {**_figures(scores[name]), **_times(times_ms[name], times_ms[TRACKERS[0]])}
    return report


def _course(segmenter: Segmenter, name: str) -> Course:
    tracker, _, every = name.partition(" every ")
    chosen = next(each for each in TRACKERS if each == tracker)
    return Course(TrackingSegmenter(segmenter, open_tracks(chosen), detect_every=int(every or 1)))


def _figures(scores: list[tuple[TrackScores, TrackScores]]) -> dict[str, Any]:
    """Return means over the lines, and the lowest ones."""
    boxes, masks = zip(*scores, strict=True)
    found: dict[str, Any] = {
        name: round(float(np.mean([getattr(each, name) for each in boxes])), 4)
        for name in ("hota", "deta", "assa", "idf1", "mota", "switches")
    }
    found["lowest_hota"] = round(min(each.hota for each in boxes), 4)
    found["lowest_idf1"] = round(min(each.idf1 for each in boxes), 4)
    found["hota_masks"] = round(float(np.mean([each.hota for each in masks])), 4)
    found["smotsa"] = round(float(np.mean([each.smota for each in masks])), 4)
    return found


def _times(frames: list[dict[str, float]], detected: list[dict[str, float]]) -> dict[str, float]:
    """Return mean times, each frame of a kind counted as their median: a machine's other work makes few very slow."""
    carried = [each for each in frames if "detect" not in each]
    full_ms, share = _median(detected, "total"), len(carried) / len(frames)
    found = {"frame_ms": full_ms, "track_ms": _median(frames, "track")}
    if carried:
        track_ms = _median(carried, "track")
        left_ms = full_ms - _median(detected, "detect") - _median(detected, "track") + track_ms
        found["carried_ms"] = _median(carried, "total")
        found["frame_ms"] = (1 - share) * full_ms + share * found["carried_ms"]
        found["expected_ms"] = (1 - share) * full_ms + share * left_ms
        found["track_ms"] = track_ms
    return {name: round(value, 2) for name, value in found.items()}


def _median(frames: list[dict[str, float]], stage: str) -> float:
    return float(np.median([each.get(stage, 0.0) for each in frames]))


def main() -> int:
    """Parse the flags and print the figures."""
    options = common.flags(__doc__, frame="640x480", rounds=150).parse_args()
    return common.run("track_line", options, lambda size_wh: measure(options.rounds, size_wh))


if __name__ == "__main__":
    sys.exit(main())
