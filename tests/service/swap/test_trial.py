"""How long a bundle takes while another one shares the machine."""

import time
from dataclasses import replace

import numpy as np
import pytest

from nanoseg.service.swap.trial import MAX_SPANS, Feed, Span
from nanoseg.types import Frame
from tests.fakes.segmenter import detections

FRAME = Frame(np.zeros((48, 64, 3), np.uint8), 0, 1, "belt")


@pytest.mark.parametrize(("whole", "expected"), [((10, 40), (65, 20)), (None, (0, 0))])
def test_times_of_frames_with_work_left_out_are_shared_and_not_compared(monkeypatch, whole, expected):
    now_s = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])
    feed = Feed(time.monotonic)
    for start_ms, end_ms, shed in [*([(*whole, ())] if whole else []), (70, 120, ("fewer_prompts",))]:
        now_s[0] = end_ms / 1e3
        found = detections((48, 64), latency_ms={"total": end_ms - start_ms})
        feed.put(FRAME, replace(found, shed=shed))
    assert feed.times(Span(0.02, 0.12), time.monotonic()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("trial", "running", "expected"),
    [
        ((0, 100), [], None),
        ((0, 100), [(120, 180)], None),
        ((0, 100), [(0, 100)], (50, 50)),
        ((0, 100), [(-50, 0), (60, 140)], (80, 60)),  # as much work, of which the camera let 40 ms be done alone
        ((0, 100), [(-30, 30), (40, 100)], (55, 30)),  # the one that shared most
        ((0, 160), [(0, 80), (80, 160)], (80, 40)),  # twice the work
    ],
)
def test_times_count_half_of_what_was_shared(monkeypatch, trial, running, expected):
    now_s = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])
    feed = Feed(time.monotonic)
    for start_ms, end_ms in running:
        now_s[0] = end_ms / 1e3
        feed.put(FRAME, detections((48, 64), latency_ms={"total": end_ms - start_ms}))
    times = feed.times(Span(*(ms / 1e3 for ms in trial)), time.monotonic())
    assert times == (None if expected is None else pytest.approx(expected))


def test_feed_is_bounded_where_the_trial_never_returns():
    feed = Feed(time.monotonic)
    for _ in range(MAX_SPANS + 5):
        feed.put(FRAME, detections((48, 64)))
    assert len(feed._frames) == MAX_SPANS
