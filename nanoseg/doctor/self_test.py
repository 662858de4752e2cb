"""The self-test: the embedded bundle on one simulated frame, and TensorRT's builder on one INT8 convolution.

`python -m nanoseg.doctor.self_test` runs the first part; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from nanoseg.backends.tensorrt.pipeline.settings import WAIT
from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.machine import Machine
from nanoseg.doctor.state import MachineState
from nanoseg.engines.device import BUILDERS
from nanoseg.errors import one_line
from nanoseg.processing.boxes import box_iou

if TYPE_CHECKING:
    from nanoseg.sources.simulator.line import GroundTruth
    from nanoseg.types import Detections, Frame

SELF_TEST_S = 300.0  # loading and a few frames on the slowest board
FRAMES = 5
WAIT_FRAMES = 30  # for each way of waiting for a GPU
WORTH = 1.03  # times the time of a frame that a processor is worth


class BundleTest(msgspec.Struct, frozen=True):
    """Result of the embedded bundle on one frame of the simulated line."""

    ran: bool
    reason: str = msgspec.field(name="why")  # where it did not run
    backend: str = ""
    device: str = ""
    load_ms: float | None = None
    first_ms: float | None = None  # the first frame includes one-time setup
    frame_ms: float | None = None  # median of the next frames
    parts: int | None = None  # in the frame
    parts_found: int | None = None  # of those: detected with the right class and an IoU of 0.5 or more
    # Only on the backend tensorrt:
    mapped: bool | None = None  # frames are read in pinned memory, not copied to the GPU
    not_captured: Mapping[str, str] | None = None  # parts that could not be captured as a CUDA graph -> reason
    waits: Mapping[str, Mapping[str, float]] | None = None  # way of waiting -> frame_ms, and cpu_ms of all threads

    @property
    def best_wait(self) -> str:
        """The way of waiting to take: to block, unless a frame takes longer by more than WORTH; "" if not measured."""
        if not self.waits:
            return ""
        slower = self.waits["block"]["frame_ms"] > WORTH * self.waits["spin"]["frame_ms"]
        return "spin" if slower else "block"


class Int8Test(msgspec.Struct, frozen=True):
    """Result of building INT8 constant weights with DequantizeLinear by one TensorRT library."""

    module: str
    version: str
    builds: bool | None  # None where it could not be tested
    reason: str = msgspec.field(name="why")  # where it does not build
    seconds: float | None


@dataclass(frozen=True)
class SelfTest:
    """Results of the self-test."""

    bundle: BundleTest
    int8_constants: tuple[Int8Test, ...]

    @property
    def passed(self) -> bool:
        """Whether the bundle ran and detected something; builders do not count."""
        return self.bundle.ran and bool(self.bundle.parts_found)


def run_self_test(machine: Machine, state: MachineState) -> SelfTest:
    """Run both tests in subprocesses; takes some seconds, a minute on a slow board."""
    result = machine.python("-m", "nanoseg.doctor.self_test", timeout_s=SELF_TEST_S)
    bundle = BundleTest(False, str(result["error"])) if "error" in result else BundleTest(ran=True, reason="", **result)
    int8_tests = []
    for each in state.tensorrt:
        if each.kind in BUILDERS and each.version:
            result = machine.python("-m", "nanoseg.backends.probe", "int8", each.module, timeout_s=SELF_TEST_S)
            reason = str(result.get("error") or result.get("why") or "")
            int8_tests.append(Int8Test(each.module, each.version, result.get("builds"), reason, result.get("seconds")))
    return SelfTest(bundle, tuple(int8_tests))


def run_bundle() -> dict[str, Any]:
    """Run the embedded bundle on frame 20 of the simulated line of seed 5, several times."""
    import nanoseg
    from nanoseg.sources.simulator.line import SimulatedLine

    frame, truth = SimulatedLine(seed=5).sample(20)
    started = time.perf_counter()
    with nanoseg.load(EMBEDDED_BUNDLE) as segmenter:
        load_ms = (time.perf_counter() - started) * 1000
        times_ms = []
        for _ in range(1 + FRAMES):
            found = segmenter(frame)
            found.mask  # noqa: B018  masks are computed when they are read, and their time counts
            times_ms.append(found.latency_ms["total"])
        result = {
            "backend": segmenter.backend,
            "device": segmenter.device,
            "load_ms": round(load_ms, 1),
            "first_ms": round(times_ms[0], 1),
            "frame_ms": round(median(times_ms[1:]), 1),
            "parts": len(truth),
            "parts_found": _count_found(truth, found),
            "mapped": getattr(segmenter.pipeline, "mapped", None),
            "not_captured": getattr(segmenter.pipeline, "not_captured", None),
        }
    if result["backend"] == "tensorrt":
        result["waits"] = {wait: measure_wait(frame, wait) for wait in ("spin", "block")}
    return result


def measure_wait(frame: Frame, wait: str) -> dict[str, float]:
    """Return the median milliseconds of a frame where the host waits in this way, and of all threads' CPU time."""
    import nanoseg

    before = os.environ.get(WAIT)
    os.environ[WAIT] = wait
    try:
        with nanoseg.load(EMBEDDED_BUNDLE, "tensorrt") as segmenter:
            segmenter(frame)
            times_ms, began = [], time.process_time()
            for _ in range(WAIT_FRAMES):
                times_ms.append(segmenter(frame).latency_ms["total"])
            cpu_ms = (time.process_time() - began) / WAIT_FRAMES * 1000
    finally:
        if before is None:
            del os.environ[WAIT]
        else:
            os.environ[WAIT] = before
    return {"frame_ms": round(median(times_ms), 2), "cpu_ms": round(cpu_ms, 2)}


def _count_found(truth: GroundTruth, found: Detections) -> int:
    """Return how many true boxes have a detection of their class with an IoU of 0.5 or more."""
    same_class = truth.class_id[:, None] == found.class_id[None]
    return int(((box_iou(truth.xyxy, found.xyxy) >= 0.5) & same_class).any(1).sum())


def main() -> int:
    """Print the result as JSON."""
    try:
        result = run_bundle()
    except Exception as error:  # of any type: it is the reason why the bundle does not run here
        result = {"error": one_line(error)}
    print(f"\n{json.dumps(result)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
