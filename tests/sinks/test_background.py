"""Background sinks: nothing waits, what does not fit is counted, errors and ends arrive."""

import threading
import time

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.processing.masks import Masks
from nanoseg.sinks import background
from nanoseg.sinks.background import CAPACITY, Background, LiveResult
from nanoseg.sinks.sink import StopRequested
from nanoseg.types import Frame
from tests.fakes.segmenter import detections

FOUND = detections((4, 4), [(0, 0, 2, 2)], [1])


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


def result(index, annotate=None):
    return LiveResult(Frame(np.zeros((4, 4, 3), np.uint8), index, time.time_ns()), FOUND, annotate)


def test_frames_arrive_in_order_and_the_end_waits_for_them():
    sink = ASink()
    with Background(sink, "out") as behind:
        for index in range(CAPACITY):
            behind.write(result(index))
    assert (sink.frames, behind.dropped, sink.left) == (list(range(CAPACITY)), 0, None)
    assert behind.written == behind.ages_ms.count == CAPACITY


def test_a_slow_sink_drops_and_counts_and_delays_nobody():
    gate = threading.Event()
    slow, quick = ASink(gate), ASink()
    with Background(slow, "slow") as behind, Background(quick, "quick"):
        behind.write(result(0))
        assert slow.entered.wait(30)
        for index in range(1, CAPACITY + 4):
            behind.write(result(index))
        assert behind.dropped == 3
        gate.set()
    assert slow.frames == list(range(CAPACITY + 1))


@pytest.mark.parametrize("failure", [UsageError("disk full"), StopRequested(), OSError("x")])
def test_a_failure_is_raised_by_the_next_frame_and_ends_the_sink(failure):
    sink = ASink(failure=failure)
    behind = Background(sink, "out").__enter__()
    behind.write(result(0))
    behind._thread.join(30)
    assert sink.left is type(failure)
    with pytest.raises(type(failure)) as raised:
        behind.write(result(1))
    behind.__exit__(raised.type, raised.value, raised.tb)


def test_a_sink_without_frames_is_called_and_may_stop_the_run(monkeypatch):
    monkeypatch.setattr(background, "IDLE_S", 0.001)
    calls = []

    def idle():
        calls.append(1)
        if len(calls) == 3:
            raise StopRequested

    sink = ASink()
    behind = Background(sink, "window", idle=idle).__enter__()
    behind._thread.join(30)
    with pytest.raises(StopRequested):
        behind.check()
    behind.__exit__(StopRequested, StopRequested(), None)
    assert (len(calls), sink.left) == (3, StopRequested)


def test_a_failure_on_the_last_frame_is_raised_at_the_end():
    sink = ASink(failure=UsageError("disk full"))
    with pytest.raises(UsageError, match="disk full"), Background(sink, "out") as behind:
        behind.write(result(0))
    assert sink.left is UsageError


def test_a_failure_after_ctrl_c_is_told(capsys):
    sink = ASink(failure=UsageError("disk full"))
    behind = Background(sink, "out").__enter__()
    behind.write(result(0))
    behind.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "nanoseg: disk full\n"


def test_a_sink_that_hangs_is_left_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(background, "CLOSE_S", 0.05)
    gate = threading.Event()
    sink = ASink(gate)
    with Background(sink, "out.mp4") as behind:
        behind.write(result(0))
        assert sink.entered.wait(30)
        behind.write(result(1))
    assert "out.mp4: takes no frames any more; left after 0.05 s, 1 frame not written" in capsys.readouterr().err
    assert (sink.left, behind.dropped) == ("no", 1)
    gate.set()


def test_a_frame_is_drawn_and_its_masks_are_computed_once_for_all_sinks(monkeypatch):
    drawn, made, crop = [], [], Masks.crop
    monkeypatch.setattr(Masks, "crop", lambda self, index: made.append(index) or crop(self, index))

    def annotate(frame, found):
        drawn.append(found.masks.crop(0))
        return np.ones((4, 4, 3), np.uint8)

    one, other, records = ASink(), ASink(), ASink()
    with (
        Background(one, "one", draws=True) as first,
        Background(other, "other", draws=True) as second,
        Background(records, "records") as third,
    ):
        shared = result(0, annotate)
        for sink in (first, second, third):
            sink.write(shared)
    assert (len(drawn), made) == (1, [0])
    assert one.images[0] is other.images[0]
    assert records.images == [None]
