"""How far a build is: never less than before, never more than the whole."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nanoseg.backends.tensorrt.build import progress as build_progress
from nanoseg.backends.tensorrt.build.progress import Phases
from tests.backends.tensorrt.build.one_graph import build
from tests.fakes.tensorrt_builder import Script, fake_builder


def test_progress_of_a_build():
    reports = []
    build(Script(steps=4), progress=lambda done, doing: reports.append((done, doing)))
    assert reports[0] == (0.0, "Reading the graph")
    assert [done for done, _ in reports[1:]] == [0, 0.25, 0.5, 0.75, 1.0]
    assert {doing for _, doing in reports[1:]} == {"Building engine"}


def test_progress_from_several_threads(monkeypatch):
    """NVIDIA wants an IProgressMonitor to be thread-safe."""
    inside, most = [], []

    class Watched(Phases):
        def __getattribute__(self, name):
            if name in ("start", "step", "finish", "fraction"):
                inside.append(name)
                time.sleep(0.001)
                most.append(len(inside))
                inside.remove(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(build_progress, "Phases", Watched)
    monitor = build_progress.progress_monitor(fake_builder(), lambda _, __: None, threading.Event())

    def work(name):
        monitor.phase_start(name, None, 5)
        for step in range(5):
            assert monitor.step_complete(name, step)
        monitor.phase_finish(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert len(most) == 4 * (2 + 5 * 2 + 1)
    assert set(most) == {1}
    assert monitor.failed is None


def nested(rng, phases, name, parent, reports):
    """A tree of phases, as TensorRT tells of them; some have no children, some end before their last step."""
    steps = int(rng.integers(0, 5))
    phases.start(name, parent, steps)
    reports.append(phases.fraction)
    for step in range(int(rng.integers(0, steps + 1))):
        if len(name) < 4 and rng.random() < 0.6:
            nested(rng, phases, f"{name}{step}", name, reports)
        phases.step(name, step)
        reports.append(phases.fraction)
    phases.finish(name)
    reports.append(phases.fraction)


@pytest.mark.parametrize("seed", range(20))
def test_phases_fraction_never_decreases(seed):
    reports = []
    nested(np.random.default_rng(seed), Phases(), "", None, reports)
    assert reports == sorted(reports)
    assert 0 <= reports[0] <= reports[-1] <= 1


def test_phases_nest():
    phases = Phases()
    phases.start("all", None, 4)
    phases.step("all", 0)
    phases.start("inner", "all", 2)
    phases.step("inner", 0)
    assert phases.fraction == (1 + 1 / 2) / 4
    phases.finish("inner")
    phases.step("all", 1)
    assert phases.fraction == 2 / 4
