"""One side of benchmarks/track.py: times parts of the nanoseg that PYTHONPATH names, whenever it is asked to.

It prints a line of JSON for each line that it reads: the milliseconds of one round of a part by name, or `error`.
What runs in one thread is timed by that thread's CPU time, and the import by its process's, so that other load counts
only for its caches; networks by the clock on the wall. OpenCV has one thread.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import nanoseg
from mask_objects import masks_in, square_boxes, usual_boxes
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import nms
from nanoseg.processing.preprocess import Preprocessor
from nanoseg.sources.simulator.line import SimulatedLine

Part = Callable[[], dict[str, float]]  # one round: milliseconds by name
SIZE_WH, BIG_WH = (640, 480), (1280, 720)
FRAMES = 3
HOST_ROUNDS = 60
THREAD = time.thread_time
ROOT = Path(nanoseg.__file__).parents[1]


def milliseconds(work: Callable[[], object], repeats: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the mean time of a call."""
    started = clock()
    for _ in range(repeats):
        work()
    return (clock() - started) * 1e3 / repeats


def children_cpu() -> float:
    """Return the CPU time in seconds of processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pipeline() -> Part:
    """The embedded bundle: a frame to masks, its stages, masks in their boxes, and ten prompts on one embedding."""
    segmenter = nanoseg.load("parts", "onnxruntime")
    line = SimulatedLine(seed=1, size_wh=SIZE_WH)
    frames = [line.frame(index) for index in range(FRAMES)]
    boxes, embedding = square_boxes(10, 140, SIZE_WH), segmenter.embed(frames[0])
    stages = ("prepare", "detect", "embed", "segment")
    for frame in frames:
        segmenter(frame)

    def work() -> dict[str, float]:
        taken: dict[str, list[float]] = {name: [] for name in ("frame", *stages, "masks of a frame")}
        for frame in frames:
            taken["frame"].append(milliseconds(lambda frame=frame: segmenter(frame)))  # type: ignore[misc]
            for name in stages:
                taken[name].append(segmenter.latency_ms[name])
            found = segmenter(frame)
            taken["masks of a frame"].append(milliseconds(found.masks.rles, clock=THREAD))
        means = {name: float(np.mean(values)) for name, values in taken.items()}
        return {**means, "ten box prompts": milliseconds(lambda: segmenter.segment(embedding, boxes=boxes))}

    return work


def masks() -> Part:
    """Ten masks at 720p from their logits, and their run lengths."""
    made = masks_in(usual_boxes(10, BIG_WH), Geometry.of(BIG_WH[::-1], 640, 636, 1024))
    return lambda: {
        "mask upsampling": milliseconds(lambda: [made.crop(index) for index in range(10)], 5, THREAD),
        "run lengths": milliseconds(made.rles, 5, THREAD),
    }


def suppression() -> Part:
    """NMS of 1,024 candidates: ten objects found by 40 boxes each, and others."""
    random = np.random.default_rng(0)
    boxes = random.uniform(0, 600, (1024, 4)).astype(np.float32)
    boxes[:, 2:] = boxes[:, :2] + random.uniform(8, 40, (1024, 2))
    boxes[:400] = np.repeat(usual_boxes(10, (640, 640)), 40, 0) + random.normal(0, 4, (400, 4))
    scores, classes = random.uniform(0.3, 0.9, 1024).astype(np.float32), random.integers(0, 80, 1024)
    classes[:400] = np.repeat(np.arange(10), 40)
    return lambda: {"nms": milliseconds(lambda: nms(boxes, scores, classes.astype(np.int32), 0.25, 0.7), 5, THREAD)}


def prepare() -> Part:
    """A 720p frame to the inputs of full-size networks."""
    frame = SimulatedLine(seed=1, size_wh=BIG_WH).frame(0).image
    preprocessor = Preprocessor(640, 636, 1024)
    return lambda: {"prepare at 720p": milliseconds(lambda: preprocessor(frame), 3, THREAD)}


def imports() -> Part:
    """`import nanoseg` in a new process."""
    command = [sys.executable, "-c", "import nanoseg"]
    return lambda: {"import nanoseg": milliseconds(lambda: subprocess.run(command, check=True), clock=children_cpu)}


def host() -> Part:
    """The host's part of a GPU frame, by that side's own benchmark: a process of its own each time."""

    def work() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "host.json")
            words = [str(ROOT / "benchmarks" / "host_cost.py"), "--rounds", str(HOST_ROUNDS), "--json", str(path)]
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
            found = json.loads(path.read_text(encoding="utf-8"))
        figures = found.get("figures", found)
        return {f"host of a GPU frame, {name}": figures[name] / 1e3 for name in ("single", "stream")}

    return work


PARTS = {each.__name__: each for each in (pipeline, masks, suppression, prepare, imports, host)}


def main() -> None:
    """Answer until stdin ends; the argument is the checkout that is meant, as another nanoseg may be installed."""
    if not ROOT.samefile(sys.argv[1]):
        sys.exit(f"track_side: wanted nanoseg of {sys.argv[1]}, got that of {ROOT}")
    cv2.setNumThreads(1)
    made: dict[str, Part] = {}
    for line in sys.stdin:
        name = line.strip()
        try:
            if name not in made:
                made[name] = PARTS[name]()
            answer: dict[str, object] = dict(made[name]())
        except Exception as error:  # an older side may lack what this file calls
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
