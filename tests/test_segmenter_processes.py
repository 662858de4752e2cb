"""A segmenter in other processes: a forked child and a copy are one clear error; results travel."""

import copy
import multiprocessing
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

from nanoseg.errors import EngineError, UsageError
from nanoseg.types import Frame
from tests.fakes.engines import fake_engines, rows, segmenter_of
from tests.helpers.saved_masks import IMAGE

CALLS = {
    "call": lambda segmenter, _: segmenter(IMAGE),
    "detect": lambda segmenter, _: segmenter.detect(IMAGE),
    "embed": lambda segmenter, _: segmenter.embed(IMAGE),
    "segment": lambda segmenter, embedding: segmenter.segment(embedding, boxes=[[1, 2, 3, 4]]),
    "stream": lambda segmenter, _: list(segmenter.stream([IMAGE])),
    "close": lambda segmenter, _: segmenter.close(),
}


def in_fork(function):
    """Return what a forked child's error says; fails where the child hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            function()
            text = "no error"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + 20
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    with open(reading) as pipe:
        return pipe.read()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("busy", [False, True])
def test_segmenter_in_a_forked_child(call, busy):
    segmenter = segmenter_of(fake_engines(rows()))
    embedding = segmenter.embed(IMAGE)
    leave, entered = threading.Event(), threading.Event()

    def hold():
        with segmenter._lock:  # as a call of this thread does
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    if busy:
        thread.start()
        entered.wait(60)
    try:
        said = in_fork(lambda: call(segmenter, embedding))
    finally:
        leave.set()
    if busy:
        thread.join()
    assert said.startswith("EngineError: this segmenter was loaded before a fork")
    assert "nanoseg.load in the process that uses it" in said
    call(segmenter, embedding)  # the parent's is as it was


@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
def test_segmenter_is_not_copied(copying):
    with pytest.raises(
        UsageError, match=r"a Segmenter cannot be pickled or copied to another process; call nanoseg\.load"
    ):
        copying(segmenter_of(fake_engines(rows())))


def test_segmenter_is_no_argument_of_a_spawned_process():
    process = multiprocessing.get_context("spawn").Process(target=print, args=(segmenter_of(fake_engines(rows())),))
    with pytest.raises(UsageError, match="a Segmenter cannot be pickled"):
        process.start()


@pytest.mark.parametrize("copying", [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy])
def test_results_and_frames_are_copied(copying):
    found = segmenter_of(fake_engines(rows([[1, 2, 30, 40]], [0.9], [0])))(IMAGE)
    again = copying(found)
    np.testing.assert_array_equal(again.xyxy, found.xyxy)
    np.testing.assert_array_equal(again.class_name, found.class_name)
    np.testing.assert_array_equal(again.mask, found.mask)
    frame = copying(Frame(IMAGE, captured_ns=1, name="a"))
    np.testing.assert_array_equal(frame.image, IMAGE)
    assert (frame.name, frame.captured_ns) == ("a", 1)
    assert EngineError.exit_code == 5
