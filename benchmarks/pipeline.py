"""Measure the overhead of the pipeline over the sum of its bare ONNX Runtime calls.

    python benchmarks/pipeline.py                                       # the embedded bundle
    python benchmarks/pipeline.py --bundle DIR --frame 1280x720 --objects 10 --json pipeline.json

The pipeline is a frame in, Detections out: preparing, three networks, clipping, latencies. Against it stand the same
sessions' `run` with the same feeds, taken turn by turn in one process, so that a busy machine slows down both. Masks
are computed on demand, so their crops and a whole record (RLE) are timed separately.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import common
import nanoseg
from nanoseg.backends.engine import Engine
from nanoseg.sinks.records import record
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.types import Detections, Frame

FRAMES = 4  # different ones, in turn
WARM_UP = 2


class Recorder:
    """An engine that keeps copies of what it was fed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.feeds: dict[str, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.feeds = {name: array.copy() for name, array in feeds.items()}
        return self.engine(feeds)


def bare_calls(segmenter: nanoseg.Segmenter, frame: Frame) -> Callable[[], None]:
    """The `session.run` calls of one frame, with the feeds that the pipeline gave them."""
    pipeline: Any = segmenter.pipeline
    engines = dict(pipeline.engines)
    recorders = {name: Recorder(engine) for name, engine in engines.items()}
    pipeline.engines.update(recorders)
    segmenter(frame)
    pipeline.engines.update(engines)
    calls = [(engine._session, recorders[name].feeds) for name, engine in engines.items()]

    def run() -> None:
        for session, feeds in calls:
            if feeds:  # nothing was found: the pipeline did not run it either
                session.run(None, feeds)

    return run


def milliseconds(work: Callable[[], object]) -> float:
    """Return the time of one call in milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def crops(found: Detections) -> None:
    """Every mask, in its own region."""
    for index in range(len(found)):
        found.masks.crop(index)


def measure(segmenter: nanoseg.Segmenter, frames: list[Frame], rounds: int) -> dict[str, Any]:
    """Medians in milliseconds, and by how much the pipeline's is above the bare calls'."""
    bare = [bare_calls(segmenter, frame) for frame in frames]
    spent: dict[str, list[float]] = {name: [] for name in ("pipeline", "bare", "prepare", "crops", "record")}
    objects = []
    for i in range(rounds + WARM_UP):
        frame, calls = frames[i % len(frames)], bare[i % len(frames)]
        turns: list[tuple[str, Callable[[], object]]] = [("pipeline", partial(segmenter, frame)), ("bare", calls)]
        # Who goes first changes with every round over the frames: whatever slows the first down hits both.
        times = {name: milliseconds(work) for name, work in (turns if i // len(frames) % 2 else reversed(turns))}
        times["prepare"] = segmenter.latency_ms["prepare"]
        found = segmenter(frame)
        times["crops"] = milliseconds(partial(crops, found))
        times["record"] = milliseconds(partial(record, frame, found))
        if i >= WARM_UP:
            objects.append(len(found))
            for name, value in times.items():
                spent[name].append(value)
    report: dict[str, Any] = {f"{name}_ms": round(statistics.median(values), 3) for name, values in spent.items()}
    report["overhead"] = round(report["pipeline_ms"] / report["bare_ms"] - 1, 4)
    report["objects"] = statistics.median(objects)
    return report


def main() -> int:
    """Parse, measure, print."""
    parser = common.flags(__doc__, frame="640x480", rounds=40)
    parser.add_argument("--bundle", default="parts", help="a bundle's name or folder (default: %(default)s)")
    parser.add_argument("--objects", type=int, metavar="N", help="exactly so many boxes, wherever they are")
    options = parser.parse_args()

    def report(size_wh: tuple[int, int]) -> dict[str, Any]:
        line = SimulatedLine(seed=1, size_wh=size_wh)
        confidence = None if options.objects is None else 0.0
        settings = {"confidence": confidence, "max_objects": options.objects}
        with nanoseg.load(options.bundle, "onnxruntime", **settings) as segmenter:
            found = measure(segmenter, [line.frame(i) for i in range(FRAMES)], options.rounds)
            return {**found, "bundle": segmenter.bundle.name, "frame": options.frame, "device": segmenter.device}

    return common.run("pipeline", options, report)


if __name__ == "__main__":
    sys.exit(main())
