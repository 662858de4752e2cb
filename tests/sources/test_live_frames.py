"""Any source read live, and live sources read as others are."""

import os
import threading
import time
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.sources import live_frames
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture import child, paced
from nanoseg.sources.capture.capture import EndOfSource
from nanoseg.sources.capture.paced import open_paced
from nanoseg.sources.open import open_source
from nanoseg.sources.source import Source
from nanoseg.types import Frame
from tests.helpers.paths import ROOT
from tests.sources.encoded_images import encoded

pytest.importorskip("cv2")


class Clock:
    """Time that passes while one sleeps or works."""

    def __init__(self, monkeypatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(paced.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(paced.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.mark.parametrize(
    ("work_s", "expected"),
    [
        (0.0, [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.5), (4, 0.6), (5, 0.7), (6, 0.8), (7, 0.9)]),
        (0.24, [(0, 0.0), (2, 0.24), (3, 0.5), (5, 0.74), (7, 0.98)]),
        (0.44, [(0, 0.0), (3, 0.5), (7, 0.94)]),
        (0.6, [(0, 0.0), (4, 0.6)]),
    ],
)
def test_paced_frames_come_at_their_times_and_late_ones_not_at_all(monkeypatch, work_s, expected):
    """Frame 3 comes after a gap in the video's own times."""
    times_s = [0.0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9]
    frames = [
        Frame(np.full((4, 4, 3), index, np.uint8), index, 0, "a", round(second * 1e9))
        for index, second in enumerate(times_s)
    ]
    monkeypatch.setattr(paced, "open_source", lambda *_, **__: Source(frames, len(frames), 10.0))
    clock = Clock(monkeypatch)
    capture, read, overdue = open_paced(CameraUrl("live", "a.mp4", "a"), 1 << 20), [], 0
    try:
        while True:
            captured = capture.read()
            overdue += captured.overdue
            read.append((int(captured.image[0, 0, 0]), round(clock.now_s - 1000, 3)))
            clock.sleep(work_s)
    except EndOfSource as end:
        overdue += end.overdue
    assert read == expected
    assert overdue + len(read) == len(frames)


def test_paced_frames_of_a_source_slower_than_its_pace_still_come(monkeypatch):
    """Each takes three of its periods to read: another pace loses none, as skipping some would make up for nothing."""
    clock = Clock(monkeypatch)

    def frames():
        for index in range(60):
            clock.sleep(0.3)
            yield Frame(np.zeros((4, 4, 3), np.uint8), index, 0, "a", index * 10**8)

    monkeypatch.setattr(paced, "open_source", lambda *_, **__: Source(frames(), 60, 10.0))
    capture, times_s = open_paced(CameraUrl("live", "a.mp4", "a"), 1 << 20), []
    with suppress(EndOfSource):
        while True:
            capture.read()
            times_s.append(clock.now_s)
    assert np.diff(times_s) == pytest.approx([0.3] * 59)


def test_paced_folder(tmp_path, monkeypatch):
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(encoded(".png"))
    (tmp_path / "b.png").write_bytes(b"")
    clock = Clock(monkeypatch)
    capture = open_paced(CameraUrl("live", str(tmp_path), "a"), 1 << 20)
    assert [capture.read().media_ns for _ in range(2)] == [0, 10**9]
    assert (clock.now_s, capture.damaged) == (1001.0, 1)
    with pytest.raises(EndOfSource):
        capture.read()


def test_open_source_live():
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    line = "parts://?seed=3&size=64x48&objects=2"
    source, rendered = open_source(line, live=True), [frame.image for frame in islice(open_source(line), 250)]
    assert (source.count, source.fps) == (None, 25.0)
    assert source.camera.status().state == "connecting"
    frames = list(islice(source, 5))
    assert [frame.name for frame in frames] == ["parts"] * 5
    assert all(time.time_ns() - frame.captured_ns < 60e9 for frame in frames)
    assert source.camera.status().state == "live"
    source.close()
    assert source.camera.status().state == "closed"
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (descriptors, threads)
    assert list(source) == []
    for frame in frames:
        assert (frame.image == rendered[round(frame.media_ns * 25 / 1e9)]).all()


def test_open_source_live_ends_with_the_files(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(encoded(".png"))
    source = open_source(tmp_path, live=True)
    frames = list(source)
    assert 1 <= len(frames) <= 2
    assert source.paths == (tmp_path / "a.png", tmp_path / "b.png")
    assert source.camera.status().state == "ended"


def test_open_source_live_refuses_at_once(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "no.mp4", live=True)
    with pytest.raises(UsageError, match="no such key"):
        open_source("parts://?sped=1", live=True)
    with pytest.raises(UsageError, match="no such option 'sze'"):
        open_source("/dev/video0?sze=1x1")


def test_open_source_of_a_camera_that_is_not_there(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(child, "MODULE", "tests.fakes.capture_process")
    monkeypatch.setattr(child.sys, "path", [str(ROOT), *child.sys.path])
    monkeypatch.setattr(live_frames, "FIRST_FRAME_S", 3.0)
    url = CameraUrl("stream", f"{tmp_path}/opened:refused", "door")
    source = live_frames.open_live(url, 1 << 20)
    with pytest.raises(SourceError, match=r"^door: no frame within 3 s: Connection refused$"):
        list(source)
    assert source.camera.status().state == "closed"
    assert [record.message for record in caplog.records] == [
        "door: cannot be opened yet: Connection refused; trying again until it is there"
    ]
