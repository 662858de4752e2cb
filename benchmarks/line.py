"""Frames per second of the simulated line on one core, with and without ground truth.

python benchmarks/line.py
python benchmarks/line.py --size 1280x720 --frames 300
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2

from common import result, write
from nanoseg.sources.simulator.line import SimulatedLine

LINES = 5


def frames_per_second(line: SimulatedLine, first: int, count: int, truth: bool) -> float:
    """Return the speed of drawing `count` frames in order, parts that come into view included."""
    draw = line.sample if truth else line.frame
    started = time.perf_counter()
    for index in range(first, first + count):
        draw(index)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Draw several lines in turn and print the median speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480", metavar="WxH", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=200, help="of each line (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result file there too")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    cv2.setNumThreads(1)
    speeds: dict[str, list[float]] = {"frames": [], "with truth": []}
    for seed in range(LINES):
        line = SimulatedLine(seed=seed, size_wh=(width, height))
        line.frame(0)  # the first frame also draws the parts that are in view at the start
        speeds["frames"].append(frames_per_second(line, 0, options.frames, truth=False))
        speeds["with truth"].append(frames_per_second(line, options.frames, options.frames, truth=True))
    medians = {name: round(statistics.median(values)) for name, values in speeds.items()}
    if options.json:
        write(result({"size": options.size, "per_second": medians}), options.json)
    for name, value in medians.items():
        print(f"{name:12} {value:6} per second at {options.size}, one thread")


if __name__ == "__main__":
    main()
