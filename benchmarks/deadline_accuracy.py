"""Measure what a deadline costs in accuracy: fewer prompts, and boxes that are carried from an earlier frame.

    python benchmarks/deadline_accuracy.py                     # 100 frames of the simulated line's test lines
    python benchmarks/deadline_accuracy.py --rounds 300 --json cost.json

Each frame is measured against the simulator's ground truth: as it is without a deadline, with its most confident
objects alone, and with the boxes of a frame that is so many frames (of 25 a second) older. Its parts move by 2 to 6
pixels a frame at 640x480.
"""

from __future__ import annotations

import sys
from typing import Any

import common
import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.deadline import segment_carried
from nanoseg.evaluation.accuracy import AccuracyMeter
from nanoseg.sources.simulator.line import TEST_SEED, SimulatedLine

LINES, STEP = 10, 25  # different lines, and frames between two measured ones
PROMPTS = (8, 4, 2)
GAPS = (1, 2, 3, 5)


def measure(rounds: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return accuracies by what is shed, over `rounds` frames of (width, height)."""
    lines = [SimulatedLine(TEST_SEED + number, size_wh) for number in range(LINES)]
    meters = {name: AccuracyMeter() for name in ("all", *map(_prompts, PROMPTS), *map(_carried, GAPS))}
    with nanoseg.load(EMBEDDED_FOLDER / EMBEDDED_BUNDLE) as segmenter:
        for index in range(rounds):
            line, at = lines[index % LINES], max(GAPS) + STEP * (index // LINES)
            frame, truth = line.sample(at)
            meters["all"].add(truth, segmenter(frame))
            for number in PROMPTS:
                meters[_prompts(number)].add(truth, segmenter(frame, max_objects=number))
            for gap in GAPS:
                earlier = segmenter(line.frame(at - gap))
                meters[_carried(gap)].add(truth, segment_carried(segmenter, frame, earlier))
    report: dict[str, Any] = {"frames": rounds, "frame": f"{size_wh[0]}x{size_wh[1]}"}
    for name, meter in meters.items():
        found = meter.result()
        report[name] = {metric: found[metric] for metric in ("map50_95", "map50", "miou")}
    return report


def _prompts(number: int) -> str:
    return f"{number} prompts"


def _carried(gap: int) -> str:
    return f"carried {gap}"


def main() -> int:
    """Parse the flags and print the figures."""
    options = common.flags(__doc__, frame="640x480", rounds=100).parse_args()
    return common.run("deadline_accuracy", options, lambda size_wh: measure(options.rounds, size_wh))


if __name__ == "__main__":
    sys.exit(main())
