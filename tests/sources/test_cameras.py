"""Several cameras in turn, on cameras that deliver what a test gives them."""

import threading

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources import cameras as cameras_module
from nanoseg.sources.camera import CameraStatus
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.cameras import Cameras
from nanoseg.types import Frame


class ACamera:
    """A camera that always has a fresh frame (`fast`), none yet (`away`), or gives three and ends (`short`)."""

    def __init__(self, url, *, max_pixels, on_message, on_frame):
        self.name, self.kind, self.on_frame = url.name, url.address, on_frame
        self.index, self.closed, self.error = 0, False, None

    def start(self):
        return self

    def read(self, timeout_s):
        assert timeout_s == 0  # one camera never waits for another
        if self.kind in ("away", "refused") or (self.kind == "short" and self.index == 3):
            return None
        self.index += 1
        return Frame(np.zeros((2, 2, 3), np.uint8), self.index - 1, name=self.name)

    def status(self):
        if self.kind == "refused":
            return CameraStatus("lost", reason="connection refused")
        return CameraStatus("ended" if self.closed or (self.kind == "short" and self.index == 3) else "live")

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
    monkeypatch.setattr(cameras_module.time, "monotonic", lambda: next(clock))
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
