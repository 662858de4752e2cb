"""A service whose bundles are swapped, on a clock and segmenters that a test plays."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from nanoseg.errors import BundleError, EngineError
from nanoseg.service.config import SwapConfig
from nanoseg.service.swap.swapper import Swapper
from nanoseg.types import Frame
from tests.fakes.segmenter import FakeSegmenter, detections

HW = (48, 64)
HANG_S = 60.0  # after which a test that waits has failed


def one_bolt(frame):
    """Return what a good bundle finds."""
    return detections(frame.size_hw, [(10, 10, 30, 30)], [0])


def nothing(frame):
    """Return what a blind bundle finds, or any on an empty belt."""
    return detections(frame.size_hw)


def slower(times):
    """Return what finds a bolt, and takes that many times as long."""

    def find(frame):
        found = one_bolt(frame)
        return replace(found, latency_ms={"total": 10.0 * times})

    return find


def fails(_):
    """Fail as an engine does."""
    raise EngineError("the engine is broken")


class Host:
    """Stands for RunningBundle: bundles by name, each what finds objects, or an error."""

    def __init__(self, config, before=""):
        self.config = config
        self.running, self.before = "old", before
        self.bundles = {"old": one_bolt, "new": one_bolt}
        self.opened: list[tuple[str, FakeSegmenter]] = []
        self.lines, self.kept, self.swaps = [], [], []
        self.estimates_mb: dict[str, float] = {}
        self.unfit: set[str] = set()  # bundles without the configured classes
        self.versions: dict[str, int] = {}

    def limits(self):
        return self.config

    def estimate_mb(self, bundle):
        if bundle not in self.bundles:
            raise BundleError(f"{bundle}: no such bundle")
        return self.estimates_mb.get(bundle, 1.0)

    def load(self, bundle):
        if bundle not in self.bundles:
            raise BundleError(f"{bundle}: no such bundle")
        segmenter = FakeSegmenter(self.bundles[bundle])
        segmenter.bundle = SimpleNamespace(name=bundle, labels=("bolt",), version=self.versions.get(bundle, 1))
        self.opened.append((bundle, segmenter))
        return segmenter

    def fit(self, bundle, segmenter):
        if segmenter.bundle.name in self.unfit:
            raise BundleError("model.classes: no such class")

    def fit_for_trial(self, bundle, segmenter):
        self.fit(bundle, segmenter)

    def keep(self, running, before, *, watched):
        self.kept.append((running, before, watched))

    def told(self, line):
        self.lines.append(line)

    def swapped(self, bundle):
        self.running = bundle
        self.swaps.append(bundle)

    def open(self):
        """Return the names of bundles that are not closed, as they were opened."""
        return [name for name, segmenter in self.opened if not segmenter.closed]


class Line:
    """A loop of frames that a test turns; the frame that comes next is `index`."""

    def __init__(self, find=one_bolt, before="", **limits):
        self.now_s = 0.0
        self.host = Host(SwapConfig(**{"frames": 5, "watch_s": 60.0, **limits}), before)
        self.host.bundles["old"] = find
        self.segmenter = self.host.load("old")
        self.swapper = Swapper(self.host, lambda: self.now_s)
        self.index = 0
        self.cameras = ["belt"]
        self.failures = []
        self.results: list[tuple[int, str]] = []  # index of a frame, and the bundle that has finished it

    @property
    def state(self):
        """State of the latest swap."""
        return self.swapper.state.state

    def turn(self, shed=()):
        """Do what the loop does with one frame."""
        if (taken := self.swapper.take(self.segmenter)) is not None:
            self.segmenter = taken
        camera = self.cameras[self.index % len(self.cameras)]
        frame = Frame(np.zeros((*HW, 3), np.uint8), self.index, 1, camera)
        self.index += 1
        try:
            found = replace(self.segmenter(frame), shed=shed)
        except EngineError as error:
            self.failures.append(frame.index)
            if (before := self.swapper.revert(str(error))) is not None:
                self.segmenter = before
            return
        self.results.append((frame.index, self.segmenter.bundle.name))
        self.swapper.offer(frame, found)

    def until(self, *states, turning=True):
        """Turn the loop until the latest swap is in one of these states."""
        self.wait_for(lambda: self.state in states, turning)

    def wait_for(self, condition, turning=True):
        """Turn the loop until a condition holds."""
        end_s = time.monotonic() + HANG_S
        while not condition():
            assert time.monotonic() < end_s, self.swapper.state
            if turning:
                self.turn()
            time.sleep(0.001)

    def swapped(self, bundle="new"):
        """Swap a bundle in, and let it prove itself."""
        self.swapper.start(bundle)
        self.until("watching")
        self.now_s += 1000
        self.until("swapped")
        return self
