"""The fault injector around a capture: what each kind does to frames, reads and openings, in simulated time."""

import signal

import numpy as np
import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.sources import faults as faults_module
from nanoseg.sources.camera_url import fault_kinds, parse_camera_url
from nanoseg.sources.capture.capture import Captured
from nanoseg.sources.fault_schedule import FRAME_KINDS, KINDS, FaultSchedule
from nanoseg.sources.faults import FaultyCapture, behind_faults, open_faulty, read_schedule, start_proxy

PERIOD_NS = 40_000_000


def ns(seconds):
    return int(seconds * 1e9) + 1


class Inner:
    """A capture of 25 frames a simulated second."""

    description, fps, clock, damaged = "8x6", 25.0, "source", 0

    def __init__(self, time):
        self.time, self.closed = time, False

    def read(self):
        self.time.now_ns += PERIOD_NS
        image = np.full((60, 80, 3), (self.time.now_ns // PERIOD_NS) % 251, np.uint8)
        image[::7, ::5] = 200
        return Captured(image, self.time.now_ns, self.time.now_ns)

    def close(self):
        self.closed = True


class Time:
    """Simulated time for the injector."""

    def __init__(self):
        self.now_ns, self.slept_s = 0, []

    def monotonic_ns(self):
        return self.now_ns

    def sleep(self, seconds):
        self.slept_s.append(seconds)
        self.now_ns += ns(seconds)


@pytest.fixture
def time(monkeypatch):
    simulated = Time()
    monkeypatch.setattr(faults_module, "time", simulated)
    return simulated


def capture(time, kind):
    return FaultyCapture(Inner(time), FaultSchedule((kind,), 5, 10.0, 3.0), "cam", 0)


def read_fault(capture, time):
    """Return the frames within the first fault, and the one after it."""
    fault = capture._schedule.fault(1)
    time.now_ns = ns(fault.start_s)
    frames = []
    while time.now_ns + PERIOD_NS < fault.end_s * 1e9:
        frames.append(capture.read())
    if time.now_ns < fault.end_s * 1e9:
        time.now_ns = ns(fault.end_s)
    return frames, capture.read()


def test_before_the_first_period_ends_nothing_happens(time):
    for kind in FRAME_KINDS:
        time.now_ns = 0
        faulty, plain = capture(time, kind), Inner(Time())
        for _ in range(100):
            np.testing.assert_array_equal(faulty.read().image, plain.read().image)


def test_freeze_repeats_one_picture_at_the_pace_of_the_source(time):
    frames, after = read_fault(capture(time, "freeze"), time)
    assert len(frames) > 30
    assert {frame.image.tobytes() for frame in frames} == {frames[0].image.tobytes()} != {after.image.tobytes()}
    assert len({frame.captured_ns for frame in frames}) == len(frames)


def test_black(time):
    frames, after = read_fault(capture(time, "black"), time)
    assert not any(frame.image.any() for frame in frames)
    assert after.image.any()


def test_size(time):
    frames, after = read_fault(capture(time, "size"), time)
    assert {frame.image.shape for frame in frames} == {(30, 53, 3)}
    assert after.image.shape == (60, 80, 3)


def test_rate_passes_one_of_five(time):
    faulty = capture(time, "rate")
    length_s = faulty._schedule.fault(1).end_s - faulty._schedule.fault(1).start_s
    assert len(read_fault(faulty, time)[0]) == pytest.approx(length_s * 5, abs=2)


def test_clock_jumps_by_one_distance_a_fault(time):
    frames, after = read_fault(capture(time, "clock"), time)
    jumps = {frame.captured_ns - frame.media_ns for frame in frames}
    assert len(jumps) == 1
    assert 1e9 <= abs(jumps.pop()) <= 60e9
    assert after.captured_ns == after.media_ns


def test_truncated_pictures_are_counted_and_not_shown(time):
    faulty = capture(time, "truncated")
    fault = faulty._schedule.fault(1)
    time.now_ns = ns(fault.start_s)
    assert faulty.read().captured_ns >= fault.end_s * 1e9
    assert faulty.damaged == pytest.approx((fault.end_s - fault.start_s) * 25, abs=2)


def test_stall_and_hang_sleep(time):
    frames, _ = read_fault(capture(time, "stall"), time)
    assert len(frames) == 1
    assert len(time.slept_s) == 1
    hanging = capture(time, "hang")
    time.now_ns = ns(hanging._schedule.fault(1).start_s)
    hanging.read()
    assert time.slept_s[-1] == 3600


@pytest.mark.parametrize(
    ("kind", "message"),
    [("error", "reading fails"), ("gone", "no such device"), ("permission", "permission denied")],
)
def test_kinds_that_fail_and_come_back(kind, message, time, monkeypatch):
    inner = Inner(time)
    monkeypatch.setattr(faults_module, "open_capture", lambda *_: inner)
    url = parse_camera_url(f"faults://?kinds={kind}&seed=5&every=10s&for=3s&name=cam")
    fault = read_schedule(url).fault(1)
    faulty = open_faulty(url, 10**6, 0)
    faulty.read()
    time.now_ns = ns(fault.start_s)
    with pytest.raises(SourceError, match=f"^cam: {message}.* \\(injected\\)$"):
        faulty.read()
    if kind == "error":
        open_faulty(url, 10**6, 0)
    else:
        with pytest.raises(SourceError, match=f"^cam: {message}"):
            open_faulty(url, 10**6, 0)
    time.now_ns = ns(fault.end_s)
    again = open_faulty(url, 10**6, 0)
    assert again.read().image.any()
    again.close()
    assert inner.closed


def test_crash_is_a_segmentation_fault(time, monkeypatch):
    killed = []
    monkeypatch.setattr(faults_module.os, "kill", lambda _, number: killed.append(number))
    faulty = capture(time, "crash")
    time.now_ns = ns(faulty._schedule.fault(1).start_s)
    faulty.read()
    assert killed == [signal.SIGSEGV]


def test_kinds_of_the_connection_are_for_rtsp_alone():
    assert fault_kinds(parse_camera_url("rtsp://camera/stream")) == tuple(KINDS)
    assert fault_kinds(parse_camera_url("http://camera/stream")) == tuple(FRAME_KINDS)
    with pytest.raises(UsageError, match="no kind 'reset' of this source"):
        read_schedule(parse_camera_url("faults://?kinds=reset"))


def test_an_rtsp_stream_goes_through_a_proxy_with_its_options():
    url = parse_camera_url("faults://?source=rtsp://u:p@127.0.0.1:9/cam?channel=1%23timeout=7&seed=3&kinds=cut,black")
    opened, proxy = start_proxy(url, 0)
    with proxy:
        assert opened.address == f"rtsp://u:p@127.0.0.1:{proxy.port}/cam?channel=1#timeout=7"
        assert read_schedule(opened) == read_schedule(url)
        assert proxy._schedule == read_schedule(url)
        assert behind_faults(opened).timeout_s == 7


def test_other_sources_have_no_proxy():
    url = parse_camera_url("faults://?source=parts://")
    assert start_proxy(url, 0) == (url, None)
