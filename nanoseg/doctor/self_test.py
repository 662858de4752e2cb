"""Try it: the embedded bundle on one simulated frame, and TensorRT on one convolution.

`python -m nanoseg.doctor.self_test` is the first part alone; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.facts import Facts
from nanoseg.doctor.machine import Machine
from nanoseg.engines.device import BUILDERS
from nanoseg.errors import one_line

if TYPE_CHECKING:
    from nanoseg.sources.simulator.line import Truth
    from nanoseg.types import Detections

TRY_S = 180.0  # loading and some frames on the slowest board
FRAMES = 5


@dataclass(frozen=True)
class BundleTry:
    """The embedded bundle on one frame of the simulated line."""

    ran: bool
    why: str  # why not
    backend: str = ""
    device: str = ""
    load_ms: float | None = None
    first_ms: float | None = None  # the first frame pays for what is set up once
    frame_ms: float | None = None  # the median of those after it
    parts: int | None = None  # that the frame shows
    parts_found: int | None = None  # of those: of their class, and overlapping by half or more
    # On backend tensorrt alone:
    mapped: bool | None = None  # frames are read in pinned memory, not copied to the GPU
    not_captured: Mapping[str, str] | None = None  # what CUDA could make no graph of, and why


@dataclass(frozen=True)
class Int8Try:
    """Whether a TensorRT builds weights that are an INT8 constant behind DequantizeLinear."""

    module: str
    version: str
    builds: bool | None  # None where it could not be asked
    why: str
    seconds: float | None


@dataclass(frozen=True)
class SelfTest:
    """What was tried, and what came of it."""

    bundle: BundleTry
    int8_constants: tuple[Int8Try, ...]

    @property
    def passed(self) -> bool:
        """Whether the bundle ran and saw something; a TensorRT that builds nothing is told, and no more."""
        return self.bundle.ran and bool(self.bundle.parts_found)


def try_out(machine: Machine, facts: Facts) -> SelfTest:
    """Run both tests in processes of their own; takes some seconds, a minute on a slow board."""
    told = machine.python("-m", "nanoseg.doctor.self_test", timeout_s=TRY_S)
    bundle = BundleTry(False, str(told["error"])) if "error" in told else BundleTry(ran=True, why="", **told)
    tried = []
    for each in facts.tensorrt:
        if each.kind in BUILDERS and each.version:
            said = machine.python("-m", "nanoseg.backends.probe", "int8", each.module, timeout_s=TRY_S)
            why = str(said.get("error") or said.get("why") or "")
            tried.append(Int8Try(each.module, each.version, said.get("builds"), why, said.get("seconds")))
    return SelfTest(bundle, tuple(tried))


def run_bundle() -> dict[str, Any]:
    """The embedded bundle on frame 20 of the line of seed 5, some times over."""
    import nanoseg
    from nanoseg.sources.simulator.line import Line

    frame, truth = Line(seed=5).sample(20)
    started = time.perf_counter()
    with nanoseg.load(EMBEDDED_BUNDLE) as segmenter:
        load_ms = (time.perf_counter() - started) * 1000
        spent_ms = []
        for _ in range(1 + FRAMES):
            found = segmenter(frame)
            found.mask  # noqa: B018  masks are made when asked for, and a user asks
            spent_ms.append(found.latency_ms["total"])
        return {
            "backend": segmenter.backend,
            "device": segmenter.device,
            "load_ms": round(load_ms, 1),
            "first_ms": round(spent_ms[0], 1),
            "frame_ms": round(median(spent_ms[1:]), 1),
            "parts": len(truth),
            "parts_found": _matched(truth, found),
            "mapped": getattr(segmenter.pipeline, "mapped", None),
            "not_captured": getattr(segmenter.pipeline, "not_captured", None),
        }


def _matched(truth: Truth, found: Detections) -> int:
    """How many of the truth's boxes a detection of their class covers with an IoU of 0.5 or more."""
    one, other = truth.xyxy[:, None], found.xyxy[None]
    shared = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    inner = shared.clip(0).prod(-1)
    union = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - inner
    same = truth.class_id[:, None] == found.class_id[None]
    return int(((inner >= union / 2) & same).any(1).sum())


def main() -> int:
    """Print what came of it."""
    try:
        told = run_bundle()
    except Exception as error:  # whatever it is, it is why the bundle does not run here
        told = {"error": one_line(error)}
    print(f"\n{json.dumps(told)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
