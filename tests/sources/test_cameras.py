"""Several cameras in turn, on cameras that deliver what a test gives them."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.errors import DependencyError, SourceError, UsageError
from nanoseg.sources import cameras as cameras_module
from nanoseg.sources.camera import CameraStatus
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.cameras import Cameras, camera_urls
from nanoseg.types import Frame


class ACamera:
    """A camera that always has a fresh frame (`fast`), none yet (`away`), or gives three and ends (`short`)."""

    def __init__(self, url, *, max_pixels, on_message, on_frame):
        self.url, self.name, self.kind, self.on_frame = url, url.name, url.address, on_frame
        self.index, self.closed, self.error = 0, False, None

    def start(self):
        return self

    def read(self, timeout_s):
        assert timeout_s == 0  # one camera never waits for another
        if self.kind in ("away", "refused", "without") or (self.kind == "short" and self.index == 3):
            return None
        self.index += 1
        return Frame(np.zeros((2, 2, 3), np.uint8), self.index - 1, name=self.name)

    def status(self):
        if self.kind == "refused":
            return CameraStatus("lost", reason="connection refused")
        if self.kind == "without":
            self.error = DependencyError("PyAV is not installed")
            return CameraStatus("ended", reason=str(self.error))
        return CameraStatus("ended" if self.closed or (self.kind == "short" and self.index == 3) else "live")

    def stop(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def cameras(monkeypatch):
    monkeypatch.setattr(cameras_module, "Camera", ACamera)

    def make(*kinds, **options):
        urls = [CameraUrl("live", kind, f"{kind}{index}") for index, kind in enumerate(kinds)]
        return Cameras(urls, max_pixels=100, **options)

    return make


def names(frames, limit):
    return [frame.name for frame, _ in zip(frames, range(limit), strict=False)]


def test_cameras_take_turns_past_those_that_are_away(cameras):
    with cameras("fast", "away", "fast", "fast") as found:
        assert names(found, 6) == ["fast0", "fast2", "fast3"] * 2


def test_a_camera_that_ends_drops_out_and_the_last_one_ends_the_source(cameras):
    with cameras("short", "short") as found:
        assert [(frame.name, frame.index) for frame in found] == [
            (name, index) for index in range(3) for name in ("short0", "short1")
        ]


def test_none_that_answers_is_an_error_with_the_reason_of_each(cameras, monkeypatch):
    clock = iter(range(0, 1000, 20))
    # The module's alone: threads of other tests read the clock, too.
    monkeypatch.setattr(cameras_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(cameras_module, "_WAIT_S", 0)
    with (
        cameras("refused", "away") as found,
        pytest.raises(SourceError, match=r"no frame within 30 s: refused0: connection refused; away1: no frame yet"),
    ):
        next(iter(found))


def test_a_camera_that_comes_wakes_the_wait(cameras, monkeypatch):
    monkeypatch.setattr(cameras_module, "_WAIT_S", 60)
    with cameras("away", start_s=None) as found:
        camera = found.cameras[0]

        def come():
            camera.kind = "fast"
            camera.on_frame()

        timer = threading.Timer(0.05, come)
        timer.start()
        assert next(iter(found)).name == "away0"
        timer.join()


def test_all_are_closed_also_where_one_cannot_start(cameras, monkeypatch):
    started = []

    def start(camera):
        started.append(camera)
        if camera.kind == "away":
            raise RuntimeError
        return camera

    monkeypatch.setattr(ACamera, "start", start)
    with pytest.raises(RuntimeError):
        cameras("fast", "away", "fast")
    assert [camera.closed for camera in started] == [True, True]


def test_all_are_stopped_before_one_is_waited_for(cameras, monkeypatch):
    calls = []
    monkeypatch.setattr(ACamera, "stop", lambda camera: calls.append(("stop", camera.name)))
    monkeypatch.setattr(ACamera, "close", lambda camera: calls.append(("close", camera.name)))
    with cameras("fast", "away", "short") as found:
        found.update([camera.url for camera in found.cameras[1:]])
        assert calls == [("stop", "fast0"), ("close", "fast0")]
        calls.clear()
    assert calls == [(how, name) for how in ("stop", "close") for name in ("away1", "short2")]


def test_an_error_for_good_ends_the_run_where_no_camera_is_left(cameras):
    with cameras("without", "without") as found, pytest.raises(DependencyError, match=r"without0: PyAV .*; without1: "):
        next(iter(found))


def test_an_error_for_good_is_told_once_where_others_go_on(cameras, monkeypatch):
    monkeypatch.setattr(cameras_module, "_WAIT_S", 0)
    told = []
    with cameras("without", "away", start_s=None, on_message=lambda *line: told.append(line)) as found:
        slow, reads = found.cameras[1], []

        def read(timeout_s):
            reads.append(timeout_s)
            return Frame(np.zeros((2, 2, 3), np.uint8), name="away1") if len(reads) % 3 == 0 else None

        slow.read = read
        assert names(found, 4) == ["away1"] * 4
    assert told == [("without0", "without0: given up: PyAV is not installed")]


def test_an_error_for_good_is_told_once_where_frames_are_read_one_by_one(cameras):
    told = []
    with cameras("without", "fast", start_s=None, on_message=lambda *line: told.append(line)) as found:
        found.status()
        assert [found.read(0).name for _ in range(3)] == ["fast1"] * 3
    assert told == [("without0", "without0: given up: PyAV is not installed")]


@pytest.mark.parametrize(
    ("sources", "live", "expected"),
    [
        (["/dev/video0", "csi://0"], False, ["video0", "csi0"]),
        (["rtsp://cam/1", "rtsp://cam/2", "rtsp://cam/3#name=cam-2"], False, ["cam", "cam-3", "cam-2"]),
        (["rtsp://cam/1", "rtsp://cam/2#name=cam"], False, ["cam-2", "cam"]),
        (["faults://?source=rtsp://c/1%23name=door", "rtsp://door/2"], False, ["door", "door-2"]),
        (["parts://", "parts://"], True, ["parts", "parts-2"]),
        (["a.png", "parts://"], False, []),
    ],
)
def test_names_of_live_sources_differ(sources, live, expected):
    assert [url.name for url in camera_urls(sources, live)] == expected


def test_one_name_for_two_live_sources_is_refused():
    with pytest.raises(UsageError, match=r"^name=door is given twice; wanted another name for each source$"):
        camera_urls(["rtsp://a/1#name=door", "0?name=yard", "rtsp://b/1#name=door"])


def test_live_sources_beside_others_are_refused():
    with pytest.raises(UsageError, match=r"clip.mp4: is no live source, others are; add --live"):
        camera_urls(["/dev/video0", "clip.mp4"])


def test_a_wait_without_frames_can_be_ended(cameras, monkeypatch):
    monkeypatch.setattr(cameras_module, "_WAIT_S", 0)
    calls = []

    def on_idle():
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("window")

    with cameras("away", start_s=None) as found, pytest.raises(KeyError, match="window"):
        next(found.frames(on_idle))


def test_cameras_update_keeps_those_that_are_the_same(cameras):
    several = cameras("fast", "away", "fast")
    kept, gone = several.cameras[2], list(several.cameras[:2])
    new = CameraUrl("live", "fast", "new")
    several.update([new, kept.url])
    assert [camera.name for camera in several.cameras] == ["new", "fast2"]
    assert several.cameras[1] is kept
    assert not kept.closed
    assert all(camera.closed for camera in gone)
    assert {several.read(0).name for _ in range(2)} == {"new", "fast2"}


def test_cameras_update_starts_those_that_have_ended_again(cameras):
    with cameras("short", "fast") as several:
        ended, kept = several.cameras
        ended.index = 3
        several.update([ended.url, kept.url])
        assert several.cameras[0] is not ended
        assert ended.closed
        assert several.cameras[1] is kept


def test_cameras_read_returns_none_after_its_time(cameras):
    assert cameras("away", "short").read(0).name == "short1"
    assert cameras("away").read(0.01) is None
