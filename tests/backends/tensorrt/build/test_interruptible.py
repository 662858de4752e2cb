"""A build can be stopped: by Ctrl-C at its next step, by a report that fails, by force."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nanoseg.backends.tensorrt.build.interruptible import run_interruptible
from nanoseg.utils.signals import handle_ending_signals
from tests.backends.tensorrt.build.one_graph import build
from tests.fakes.tensorrt_builder import Script
from tests.helpers.paths import ROOT


def test_build_ends_when_progress_raises():
    steps = []

    def report(done, doing):
        if done:
            raise BrokenPipeError("nobody looks")

    with pytest.raises(BrokenPipeError):
        build(Script(steps=9, at_step=steps.append), progress=report)
    assert steps == [0]


def test_interrupt_ends_build_at_next_step(tmp_path):
    before, steps, message = signal.getsignal(signal.SIGINT), [], []
    heard = threading.Event()

    def report(done, doing):
        message.append(doing)
        if doing.startswith("stopping"):
            heard.set()

    def step(number):
        steps.append(number)
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.wait(60)

    with pytest.raises(KeyboardInterrupt):
        build(Script(steps=9, at_step=step), progress=report, timing_cache=tmp_path / "cache")
    assert steps == [0, 1]
    assert message[-1] == "stopping; Ctrl-C again kills"
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "cache").read_bytes() == b"+"  # what was measured until then serves the next build


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_sigterm_ends_the_work():
    def work(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        return stop.wait(60)

    heard = []
    with handle_ending_signals(), pytest.raises(KeyboardInterrupt):
        run_interruptible(lambda stop: heard.append(work(stop)), lambda: heard.append("stopping"))
    assert set(heard) == {"stopping", True}


def interrupt_and(then):
    """What sends Ctrl-C from within TensorRT, and goes on when it was heard."""

    def call(*_):
        os.kill(os.getpid(), signal.SIGINT)
        until = time.monotonic() + 60
        while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL and time.monotonic() < until:
            time.sleep(0.01)
        return then()

    return call


def fail():
    raise RuntimeError("the build was cancelled")


@pytest.mark.parametrize(
    ("script", "load"),
    [
        (Script(steps=1, at_step=interrupt_and(fail)), False),
        (Script(at_load=interrupt_and(lambda: None)), True),
        (Script(loads=False, at_load=interrupt_and(lambda: None)), True),
    ],
    ids=["a builder that raises then", "while it is loaded", "while it does not load"],
)
def test_interrupt_wins_over_other_results(script, load):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(script, load=load)
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_ignored():
    """As a shell starts what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert build(Script(at_step=lambda _: os.kill(os.getpid(), signal.SIGINT))).plan == b"plan"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


STUCK = """
import os, signal, sys, time
from pathlib import Path
from nanoseg.backends.tensorrt.build.engine import build_engine
from tests.fakes.tensorrt_builder import Script, fake_builder
from tests.backends.tensorrt.build.one_graph import RECIPE
def hang(step):
    print("building", flush=True)
    time.sleep(60)
build_engine(fake_builder(Script(at_step=hang)), b"", RECIPE, progress=lambda _, doing: print(doing, flush=True))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_interrupt_twice_kills():
    with subprocess.Popen([sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "building\n" or line.startswith("stopping"):
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT


def test_interrupt_outside_main_thread():
    built = []
    thread = threading.Thread(target=lambda: built.append(build(Script())))
    thread.start()
    thread.join(60)
    assert built[0].plan == b"plan"
