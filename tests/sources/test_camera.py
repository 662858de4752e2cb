"""Cameras whose capture process hangs, crashes and lies: what is read, told, counted, and left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from nanoseg.errors import DependencyError
from nanoseg.sources import watchdog
from nanoseg.sources.camera import Camera
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture import child
from tests.helpers.paths import ROOT

PATIENCE_S = 60.0  # a hang of what is tested; nothing here takes so long


class Fake:
    """A camera of the fake capture process, and what was told of it."""

    def __init__(self, folder: Path, behaviours: str, **options) -> None:
        self.log, self.lines = folder / "opened", []
        url = CameraUrl("stream", f"{self.log}:{behaviours}", "cam", **{"timeout_s": PATIENCE_S, **options})
        self.noticed = threading.Event()
        self.camera = Camera(url, max_pixels=1 << 20, on_message=self.lines.append, on_frame=self.noticed.set)

    def __enter__(self):
        self.camera.start()
        return self

    def __exit__(self, *_):
        self.camera.close()

    def opened(self):
        """The process of each opening."""
        return [int(line.split()[0]) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def until(self, condition):
        """Read frames until something is so; returns the frames."""
        frames, end_s = [], time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, (self.camera.status(), self.lines)
            if (frame := self.camera.read(0.05)) is not None:
                frames.append(frame)
        return frames

    def until_back(self):
        return self.until(lambda: self.camera.status().reconnects and self.camera.status().state == "live")


@pytest.fixture(autouse=True)
def _fake_process(monkeypatch):
    monkeypatch.setattr(child, "MODULE", "tests.fakes.capture_process")
    monkeypatch.setattr(child.sys, "path", [str(ROOT), *sys.path])


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("behaviour", "reason", "same_process"),
    [
        ("error", "the cable was pulled", True),
        ("bug", "ZeroDivisionError: in a library", True),
        ("refused", "Connection refused", True),
        ("hang", "no frame for 2.0 s", False),
        ("hang_with_the_lock", "no frame for 2.0 s", False),
        ("hang_close", "the cable was pulled", False),
        ("open_hang", "not opened after 2.0 s", False),
        ("open_hang_with_the_lock", "not opened after 2.0 s", False),
        ("segv", "the capture process ended by SIGSEGV", False),
        ("kill", "the capture process ended by SIGKILL", False),
        ("words", "the capture process ended with exit code 3: decoder: out of order", False),
        ("garbage", "the capture process sent what is no message", False),
    ],
)
def test_camera_comes_back(tmp_path, monkeypatch, behaviour, reason, same_process):
    monkeypatch.setattr(watchdog, "MIN_OPENING_S", 2.0 if behaviour.startswith("open_") else PATIENCE_S)
    timeout_s = 2.0 if "hang" in behaviour else PATIENCE_S
    with Fake(tmp_path, f"{behaviour},ok", timeout_s=timeout_s) as fake:
        fake.until(lambda: len(fake.opened()) > 1 and fake.camera.status().state == "live")
        frames, first = fake.until(lambda: len(fake.lines) > 1), fake.opened()[0]
        assert (len(set(fake.opened())) == 1) is same_process
        assert is_alive(first) is same_process
        never_open = behaviour == "refused" or behaviour.startswith("open_")
        assert len(fake.lines) == 2, fake.lines
        assert fake.lines[0].startswith(f"cam: {'cannot be opened yet' if never_open else 'lost'}: {reason}")
        assert fake.lines[1].startswith(f"cam: {'open' if never_open else 'back'} after ")
        assert never_open or fake.lines[1].endswith("; now a source that shows ok")
        status = fake.camera.status()
        assert (status.state, status.reason, status.reconnects) == ("live", "", 0 if never_open else 1)
        assert status.lost_s > 0.1
        assert len({line.split()[1] for line in fake.log.read_text().splitlines()}) == 1  # one start of the camera
        assert all(one.index < other.index and one.media_ns <= other.media_ns for one, other in pairwise(frames))


def test_camera_that_was_stopped_itself_loses_nothing(tmp_path):
    """The frames that came meanwhile wait for it; a machine that is busy stops it, too."""
    with Fake(tmp_path, "ok", timeout_s=1.0) as fake:
        stopped = []

        def stop():
            if not stopped and fake.camera.status().frames > 20:
                stopped.append(time.sleep(1.5))

        fake.camera._on_frame = stop
        fake.until(lambda: bool(stopped))
        before = fake.camera.status().frames
        fake.until(lambda: fake.camera.status().frames > before + 20)
        assert (fake.lines, len(fake.opened())) == ([], 1)


def test_camera_frames_of_changing_size(tmp_path):
    with Fake(tmp_path, "sizes") as fake:
        sizes = {}
        frames = fake.until(lambda: fake.camera.status().frames > 30)
        for frame in frames:
            width = int(frame.image[-1, -1, -1])
            assert frame.image.shape == (width * 3 // 4, width, 3)
            assert (frame.image[0, 1:] == 7).all()
            sizes[width] = frame
        assert 32 in sizes
        assert not fake.lines


def test_camera_gives_the_newest_frame_and_counts_the_others(tmp_path):
    with Fake(tmp_path, "ok") as fake:
        first = fake.camera.read(PATIENCE_S)
        wait_until(lambda: fake.camera.status().frames > 50)
        frame = fake.camera.read(0)
        kept = frame.image.copy()
        after = fake.camera.status()
        assert frame.index >= 50
        assert first.index + after.dropped["newer"] >= 48
        assert frame.media_ns > first.media_ns
        assert after.fps > 1
        wait_until(lambda: fake.camera.status().frames > after.frames + 20)
        assert (frame.image == kept).all()  # it is the caller's


@pytest.mark.parametrize(("behaviours", "lost"), [("frozen,ok", True), ("frozen", True), ("ok", False)])
def test_camera_frozen_picture(tmp_path, behaviours, lost):
    with Fake(tmp_path, behaviours, frozen_s=1.0) as fake:
        fake.until(lambda: fake.camera.status().frames > 400 or fake.camera.status().reconnects)
        status = fake.camera.status()
        assert bool(status.reconnects) is lost
        assert bool(status.dropped.get("frozen")) is lost
        if behaviours == "frozen":  # a scene that stands still is not opened again and again
            seen = status.frames
            fake.until(lambda: fake.camera.status().frames > seen + 40)
            assert fake.camera.status().reconnects == 1


def test_camera_never_frozen_passes_every_picture(tmp_path):
    with Fake(tmp_path, "frozen", frozen_s=0.0) as fake:
        for _ in range(10):
            assert fake.camera.read(PATIENCE_S) is not None
        assert "frozen" not in fake.camera.status().dropped


def test_camera_with_a_noisy_decoder(tmp_path, capfd):
    with Fake(tmp_path, "flood") as fake:
        fake.until(lambda: fake.camera.status().frames > 100)
        assert not fake.lines
    assert capfd.readouterr() == ("", "")


def test_camera_ends(tmp_path):
    begin_s = time.monotonic()
    with Fake(tmp_path, "end") as fake:
        assert fake.noticed.wait(PATIENCE_S)
        wait_until(lambda: fake.camera.status().state == "ended")
        wait_until(lambda: not is_alive(fake.opened()[0]))
        frame = fake.camera.read(0)  # the last one, which was not read before
        assert (frame.index, frame.image[0, 0, 0], frame.image[-1, -1, -1]) == (2, 3, 64)
        looks_s = [fake.camera.status().since_s for _ in range(2)]
        assert 0 < looks_s[0] < looks_s[1] < time.monotonic() - begin_s  # since it has ended
        assert fake.camera.read(0) is None
        assert (fake.camera.error, fake.lines) == (None, [])


def test_camera_without_its_library(tmp_path):
    with Fake(tmp_path, "missing") as fake:
        assert fake.camera.read(PATIENCE_S) is None
        assert isinstance(fake.camera.error, DependencyError)
        assert fake.camera.status().reason == "a library is not installed"


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "behaviour", ["ok", "hang", "hang_with_the_lock", "open_hang", "hang_close", "refused", "segv"]
)
def test_camera_closes_whatever_its_process_does(tmp_path, behaviour, at_once):
    never_open = behaviour in ("open_hang", "refused")
    descriptors, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    with Fake(tmp_path, behaviour) as fake:
        if not at_once:
            fake.until(lambda: fake.opened() and (never_open or fake.camera.status().frames))
    fake.camera.close()
    assert fake.camera.status().state == "closed"
    assert fake.camera.read() is None
    assert not [pid for pid in fake.opened() if is_alive(pid)]
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (len(descriptors), threads)


def test_camera_opened_again_many_times_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "_PAUSES_S", (0.01,))
    with Fake(tmp_path, ",".join(["error"] * 40 + ["kill"] * 10 + ["ok"])) as fake:
        fake.until(lambda: fake.camera.status().reconnects == 1)
        descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        fake.until(lambda: fake.camera.status().reconnects == 50 and fake.camera.status().state == "live")
        assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (descriptors, threads)
        assert len(fake.lines) == 3  # lost, back, comes and goes


@pytest.mark.parametrize("behaviour", ["ok", "hang", "hang_with_the_lock"])
def test_camera_process_ends_with_its_parent(tmp_path, behaviour):
    code = (
        "import sys, time\n"
        "from nanoseg.sources.capture import child\n"
        "from nanoseg.sources.camera import Camera\n"
        "from nanoseg.sources.camera_url import CameraUrl\n"
        "child.MODULE = 'tests.fakes.capture_process'\n"
        "camera = Camera(CameraUrl('stream', sys.argv[1], 'cam'), max_pixels=1 << 20).start()\n"
        "assert camera.read(60) is not None\n"
        "print('reading', flush=True)\n"
        "time.sleep(600)\n"
    )
    log = tmp_path / "opened"
    parent = subprocess.Popen([sys.executable, "-c", code, f"{log}:{behaviour}"], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert parent.stdout.readline() == b"reading\n"
        pid = int(log.read_text().split()[0])
        time.sleep(0.1)  # for it to hang
        assert is_alive(pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    wait_until(lambda: not is_alive(pid))
