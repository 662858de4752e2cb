"""Frames a second of the simulated line on one core, with and without their truth.

python benchmarks/line.py
python benchmarks/line.py --size 1280x720 --frames 300
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2

from nanoseg.sources.simulator.line import SimulatedLine

LINES = 5


def frames_a_second(line: SimulatedLine, first: int, count: int, truth: bool) -> float:
    """Of `count` frames one after another, parts coming into view included."""
    make = line.sample if truth else line.frame
    started = time.perf_counter()
    for index in range(first, first + count):
        make(index)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Several lines in turn; the median of each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480", metavar="WxH", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=200, help="of each line (default: %(default)s)")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    cv2.setNumThreads(1)
    speeds: dict[str, list[float]] = {"frames": [], "with truth": []}
    for seed in range(LINES):
        line = SimulatedLine(seed=seed, size_wh=(width, height))
        line.frame(0)  # the parts that lie there at the start are drawn with the first frame
        speeds["frames"].append(frames_a_second(line, 0, options.frames, truth=False))
        speeds["with truth"].append(frames_a_second(line, options.frames, options.frames, truth=True))
    for name, found in speeds.items():
        print(f"{name:12} {statistics.median(found):6.0f} a second at {options.size}, one thread")


if __name__ == "__main__":
    main()
