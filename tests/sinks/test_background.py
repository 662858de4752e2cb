"""Background sinks: nothing waits, what does not fit is counted, errors and ends arrive."""

import threading

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks import background
from nanoseg.sinks.background import CAPACITY, Background, Drawing
from nanoseg.sinks.sink import StopRequested
from nanoseg.types import Frame
from tests.fakes.segmenter import detections

FOUND = detections((4, 4))


class ASink:
    kept = None

    def __init__(self, gate=None, failure=None):
        self.gate, self.failure = gate, failure
        self.frames, self.images, self.entered = [], [], threading.Event()
        self.left = "no"

    def write(self, frame, found, annotated):
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.failure is not None:
            raise self.failure
        self.frames.append(frame.index)
        self.images.append(annotated)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.left = kind


def frame(index):
    return Frame(np.zeros((4, 4, 3), np.uint8), index)


def drawing(annotate=None):
    return Drawing(annotate, frame(0), FOUND)


def test_frames_arrive_in_order_and_the_end_waits_for_them():
    sink = ASink()
    with Background(sink, "out") as behind:
        for index in range(CAPACITY):
            behind.write(frame(index), FOUND, drawing())
    assert (sink.frames, behind.dropped, sink.left) == (list(range(CAPACITY)), 0, None)


def test_a_slow_sink_drops_and_counts_and_delays_nobody():
    gate = threading.Event()
    slow, quick = ASink(gate), ASink()
    with Background(slow, "slow") as behind, Background(quick, "quick"):
        behind.write(frame(0), FOUND, drawing())
        assert slow.entered.wait(30)
        for index in range(1, CAPACITY + 4):
            behind.write(frame(index), FOUND, drawing())
        assert behind.dropped == 3
        gate.set()
    assert slow.frames == list(range(CAPACITY + 1))


@pytest.mark.parametrize("failure", [UsageError("disk full"), StopRequested(), OSError("x")])
def test_a_failure_is_raised_by_the_next_frame_and_ends_the_sink(failure):
    sink = ASink(failure=failure)
    behind = Background(sink, "out").__enter__()
    behind.write(frame(0), FOUND, drawing())
    behind._thread.join(30)
    with pytest.raises(type(failure)) as raised:
        behind.write(frame(1), FOUND, drawing())
    behind.__exit__(raised.type, raised.value, raised.tb)
    assert sink.left is type(failure)


def test_a_failure_on_the_last_frame_is_raised_at_the_end():
    sink = ASink(failure=UsageError("disk full"))
    with pytest.raises(UsageError, match="disk full"), Background(sink, "out") as behind:
        behind.write(frame(0), FOUND, drawing())
    assert sink.left is UsageError


def test_a_sink_that_hangs_is_left_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(background, "CLOSE_S", 0.05)
    gate = threading.Event()
    sink = ASink(gate)
    with Background(sink, "out.mp4") as behind:
        behind.write(frame(0), FOUND, drawing())
        assert sink.entered.wait(30)
        behind.write(frame(1), FOUND, drawing())
    assert "out.mp4: does not take frames any more" in capsys.readouterr().err
    assert (sink.left, behind.dropped) == ("no", 1)
    gate.set()


def test_a_frame_is_drawn_once_for_all_sinks():
    calls = []

    def annotate(frame, found):
        calls.append(frame.index)
        return np.ones((4, 4, 3), np.uint8)

    one, other = ASink(), ASink()
    shared = drawing(annotate)
    with Background(one, "one") as first, Background(other, "other") as second:
        first.write(frame(0), FOUND, shared)
        second.write(frame(0), FOUND, shared)
    assert calls == [0]
    assert one.images[0] is other.images[0]
