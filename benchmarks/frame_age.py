"""Measure the age of frames of live sources at the end of the pipeline, under more load than it can carry.

    python benchmarks/frame_age.py                             # twice the load, the embedded bundle
    python benchmarks/frame_age.py --load 4 --rounds 1000 --frame 1280x720 --json age.json

Sources are simulated lines at 25 frames a second, each in a capture process as a camera is, and as many as the load
takes. What is promised: the 99th percentile of the age at the end stays below two frame periods plus the pipeline's
own time (its 99th percentile in the same run). Each source's share of the frames is printed, too.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import common
import nanoseg
from nanoseg.commands.live_loop import FINISHED, STARTED, LiveTally, process_live
from nanoseg.errors import UsageError
from nanoseg.sinks.live import LiveSinks
from nanoseg.sources.cameras import Cameras, camera_urls
from nanoseg.sources.open import LINE_FPS
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.sources.source import MAX_PIXELS

WARM_UP, ALONE = 3, 20  # frames


def measure(options: Any, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return ages and the pipeline's own time in milliseconds."""
    width, height = size_wh
    with nanoseg.load(options.bundle, options.backend) as segmenter:
        line = SimulatedLine(1, size_wh)
        frames = [line.frame(10 * index) for index in range(ALONE)]
        for frame in frames[:WARM_UP]:
            segmenter(frame)
        started_s = time.perf_counter()
        for frame in frames:
            segmenter(frame)
        capacity = ALONE / (time.perf_counter() - started_s)
        count = max(1, math.ceil(options.load * capacity / LINE_FPS))
        urls = camera_urls([f"parts://?seed={seed}&size={width}x{height}" for seed in range(1, count + 1)], live=True)
        tally = LiveTally()
        with Cameras(urls, max_pixels=MAX_PIXELS) as cameras:
            process_live(segmenter, cameras, LiveSinks(), tally, limit=WARM_UP)  # until the first are open
            tally, started_s = LiveTally(), time.perf_counter()
            process_live(segmenter, cameras, LiveSinks(), tally, limit=options.rounds)
            rate = tally.frames / (time.perf_counter() - started_s)
            dropped = sum(sum(status.dropped.values()) for status in cameras.status().values())
        device = segmenter.device
    own, period_ms = tally.stages["total"], 1000 / LINE_FPS
    age_ms, bound_ms = tally.ages[FINISHED].percentile(99), 2 * period_ms + own.percentile(99)
    return {
        "bundle": options.bundle,
        "device": device,
        "frame": f"{width}x{height}",
        "sources": f"{count} at {LINE_FPS:g} frames/s",
        "load": round(count * LINE_FPS / rate, 2),
        "frames/s": round(rate, 2),
        "frames": tally.frames,
        "dropped": dropped,
        "by source": dict(sorted(tally.by_source.items())),
        "pipeline ms": own.summary(),
        "age ms, start": tally.ages[STARTED].summary(),
        "age ms, end": tally.ages[FINISHED].summary(),
        "bound of p99, ms": round(bound_ms, 1),
        "kept": age_ms < bound_ms,
    }


def main() -> int:
    """Parse the flags and print the figures."""
    parser = common.flags(__doc__, frame="640x480", rounds=300)
    parser.add_argument("--bundle", default="parts", metavar="B", help="name or folder (default: %(default)s)")
    parser.add_argument("--backend", default="auto", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument(
        "--load", type=float, default=2.0, metavar="X", help="of what it can carry (default: %(default)s)"
    )
    options = parser.parse_args()

    def measured(size_wh: tuple[int, int]) -> dict[str, Any]:
        if not 0 < options.load <= 100:
            raise UsageError(f"--load: wanted more than 0, at most 100, got {options.load:g}")
        return measure(options, size_wh)

    return common.run("frame_age", options, measured)


if __name__ == "__main__":
    sys.exit(main())
