"""Measure the host's part of a GPU frame: the real pipeline and cuda-bindings on a stub driver.

    python benchmarks/host_cost.py                                  # the embedded bundle, 10 objects at 720p
    python benchmarks/host_cost.py --bundle DIR --objects 4 --profile

It needs a C compiler for the stub, and `make cuda-bindings`. Engines do nothing, and what a GPU would copy is not
copied. What is left is Python, the bindings, and the copy of a frame to pinned memory, which is
timed alone beside it. The driver's own cost is not there: a few microseconds for each of its calls, which are counted.
"""

from __future__ import annotations

import argparse
import cProfile
import ctypes
import json
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import common
from nanoseg.backends.cuda import open_gpu
from nanoseg.bundle import open_bundle
from nanoseg.errors import EngineError
from nanoseg.segmenter import Segmenter
from null_engine import Arrays, open_null_pipeline
from stub_driver import build_stub, environment

WARM_UP = 20
SMALL = 1 << 14  # bytes: detections are copied, masks and frames are not
SIDE = 0.15  # of a box, as a part of the frame's width
COUNTED = 20  # frames whose calls are counted


def detect(name: str, _: Arrays, outputs: Arrays, boxes: np.ndarray) -> None:
    """Write what the detector finds."""
    if name == "detect":
        for output in outputs.values():
            output.fill(0)
        outputs["boxes"][: len(boxes)] = boxes
        outputs["scores"][: len(boxes)] = np.linspace(0.9, 0.5, len(boxes))
        outputs["count"][...] = len(boxes)


def objects(count: int, frame_wh: tuple[int, int]) -> np.ndarray:
    """Return (count, 4) boxes of usual size in a row of rows."""
    width, height = frame_wh
    side, index = SIDE * width, np.arange(count)
    left, top = index % 5 * (width - side) / 5, index // 5 * (height - side) / max(1, (count + 4) // 5)
    return np.stack([left, top, left + side, top + side], 1).astype(np.float32)


def time_us(call: Callable[[], object], rounds: int) -> float:
    """Return the median of the microseconds of a call."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


def measure(options: argparse.Namespace, frame_wh: tuple[int, int]) -> dict[str, Any]:
    """Return the figures, in microseconds; called where the stub is found."""
    stub = ctypes.CDLL("libcuda.so.1")
    bundle, width, height = open_bundle(options.bundle), *frame_wh
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    compute = partial(detect, boxes=objects(options.objects, frame_wh))
    with Segmenter(bundle, open_null_pipeline(bundle, open_gpu(), compute), confidence=0.1) as segmenter:

        def stream(frames: int) -> list[tuple[float, Mapping[str, float]]]:
            found = segmenter.stream(image for _ in range(frames))
            return [(time.perf_counter(), dict(each.latency_ms)) for _, each in found]

        stream(WARM_UP)
        found = len(segmenter(image))
        if found != options.objects:
            raise EngineError(f"host_cost: wanted {options.objects} objects, found {found}")
        pipeline: Any = segmenter.pipeline
        stub.stub_idle(ctypes.c_uint64(SMALL))
        stub.stub_mark(b"counted")
        stream(COUNTED)
        stub.stub_mark(b"counted too")
        if options.trace:
            return {}
        single = time_us(lambda: segmenter(image), options.rounds)
        laps = stream(options.rounds)
        gpu = pipeline._resources.gpu
        targets = [gpu.host_buffer(image.shape, np.uint8).array for _ in range(2)]
        copied = time_us(lambda: [target.__setitem__(..., image) for target in targets], options.rounds) / len(targets)
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(stream, options.rounds)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    stages = {
        name: round(statistics.median(lap[name] for _, lap in laps) * 1e3)
        for name in ("prepare", "detect", "embed", "segment")
    }
    frame = statistics.median(np.diff([at for at, _ in laps])) * 1e6
    return {"single": round(single), "stream": round(frame), **stages, "copy": round(copied)}


def call_counts(trace: Path) -> dict[str, float]:
    """Return how often a frame of a stream called each of the driver's functions that the trace has."""
    lines = trace.read_text().splitlines()
    counted = lines[lines.index("mark counted") + 1 : lines.index("mark counted too")]
    calls: dict[str, float] = {}
    launching = False
    for line in counted:
        name = line.split()[0]
        launching = name == "launch" or (launching and name != "launched")
        if name == "launch" or not (launching or name == "launched"):
            calls[name] = calls.get(name, 0) + 1 / COUNTED
    return {name: round(count, 1) for name, count in sorted(calls.items())}


def run(options: argparse.Namespace, frame_wh: tuple[int, int]) -> dict[str, Any]:
    """Build the stub and measure in processes that find it."""
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        build_stub(Path(folder))
        trace = Path(folder) / "trace"
        for settings in ({"trace": trace}, {}):
            variables = environment(Path(folder), options.bindings, version=options.bindings * 1000 + 90, **settings)
            command = [sys.executable, __file__, "--inside", *sys.argv[1:], *(["--trace"] if settings else [])]
            done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise EngineError("host_cost: the process on the stub driver failed")
            *printed, last = done.stdout.splitlines()
            if printed:
                print(*printed, sep="\n")
            report |= json.loads(last)
        return {**report, "calls": call_counts(trace)}


def main() -> int:
    """Parse the flags and measure."""
    parser = common.flags(__doc__ or "", "1280x720", 400)
    parser.add_argument("--bundle", default="parts", help="name or folder (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--bindings", type=int, choices=(12, 13), default=12, help="(default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--trace", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measure(options, common.checked(options))))
        return 0
    return common.run("host_cost", options, partial(run, options))


if __name__ == "__main__":
    sys.exit(main())
