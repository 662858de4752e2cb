"""V4L2 devices on a strict fake of OpenCV's VideoCapture: what is negotiated, delivered, and said where it fails."""

import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.camera_url import parse_camera_url
from nanoseg.sources.capture import v4l2
from nanoseg.sources.capture.jpeg import encode_jpeg
from nanoseg.utils.open_files import Process

IMAGE = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def code(name):
    return cv2.VideoWriter.fourcc(*name)


class AVideoCapture:
    """A camera of 640x480 and 1280x720, MJPG or YUYV, at most 30 frames a second; refuses unknown properties."""

    opens = True
    sizes = ((640, 480), (1280, 720))
    instances: list = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, path, api):
        assert api == cv2.CAP_V4L2
        self.path, self.calls, self.released, self.age_ms = path, [], False, 20.0
        self.values = {
            cv2.CAP_PROP_FOURCC: float(code("YUYV")),
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_CONVERT_RGB: 1.0,
        }
        self.frames = []
        self.instances.append(self)

    def isOpened(self):  # noqa: N802 - OpenCV's
        return self.opens

    def set(self, key, value):
        assert key in self.values
        self.calls.append(key)
        if key == cv2.CAP_PROP_FOURCC and value not in (code("MJPG"), code("YUYV")):
            return False
        if key == cv2.CAP_PROP_FPS:
            value = min(value, 30)
        if key == cv2.CAP_PROP_FRAME_HEIGHT:
            wanted = (self.values[cv2.CAP_PROP_FRAME_WIDTH], value)
            width, value = min(self.sizes, key=lambda size: abs(size[0] - wanted[0]) + abs(size[1] - wanted[1]))
            self.values[cv2.CAP_PROP_FRAME_WIDTH] = float(width)
        self.values[key] = float(value)
        return True

    def get(self, key):
        if key == cv2.CAP_PROP_POS_MSEC:
            return time.monotonic_ns() / 1e6 - self.age_ms
        return self.values[key]

    def grab(self):
        return bool(self.frames)

    def retrieve(self):
        frame = self.frames.pop(0)
        return frame is not None, frame

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(v4l2, "_check", lambda _: None)
    monkeypatch.setattr(AVideoCapture, "instances", [])
    monkeypatch.setattr(v4l2.cv2, "VideoCapture", AVideoCapture)

    def open_it(text):
        capture = v4l2.open_v4l2(parse_camera_url(text), 10**7)
        return capture, AVideoCapture.instances[-1]

    return open_it


@pytest.mark.parametrize(
    ("text", "description", "fps"),
    [
        ("/dev/video0", "640x480 YUYV 30 fps, V4L2 by OpenCV", 30),
        ("/dev/video0?size=1280x720", "1280x720 MJPG 30 fps, V4L2 by OpenCV", 30),
        ("/dev/video0?size=1280x720&format=YUYV&fps=10", "1280x720 YUYV 10 fps, V4L2 by OpenCV", 10),
        (
            "/dev/video0?size=1920x1080&fps=60&format=NV12",
            "1280x720 YUYV 30 fps, V4L2 by OpenCV (wanted 1920x1080 NV12 60 fps)",
            30,
        ),
    ],
)
def test_what_was_negotiated_is_said(text, description, fps, camera):
    capture, video = camera(text)
    assert (capture.description, capture.fps) == (description, fps)
    if cv2.CAP_PROP_FOURCC in video.calls:
        assert video.calls[0] == cv2.CAP_PROP_FOURCC  # it decides which sizes there are
    capture.close()
    assert video.released


def test_the_drivers_time_is_the_time_of_capture(camera):
    capture, video = camera("/dev/video0")
    video.frames = [IMAGE] * 2
    captured = capture.read()
    assert 20e6 <= time.time_ns() - captured.captured_ns < 10e9
    assert capture.clock == "source"
    np.testing.assert_array_equal(captured.image, IMAGE)
    video.age_ms = -5e6  # a driver that stamps by the wall clock
    captured = capture.read()
    assert 0 <= time.time_ns() - captured.captured_ns < 10e9
    assert capture.clock == "arrival"


def test_cut_pictures_are_counted_and_not_shown(camera):
    capture, video = camera("/dev/video0?format=MJPG")
    data = np.frombuffer(encode_jpeg(IMAGE), np.uint8)
    video.frames = [data[None, : len(data) // 2], None, data[None]]
    assert capture.read().image.shape == IMAGE.shape
    assert capture.damaged == 2


@pytest.mark.parametrize(("path", "reason"), [("/dev/null", "it gives no frames"), ("/dev/video-none", "it is gone")])
def test_a_device_that_stops_is_lost(path, reason, camera):
    capture, _ = camera("/dev/video0")
    capture._path = path
    with pytest.raises(SourceError, match=f"{path}: {reason}"):
        capture.read()


def test_frames_larger_than_the_limit_close_the_device(camera):
    with pytest.raises(SourceError, match="1280 x 720 pixels are more than the limit of 100000"):
        v4l2.open_v4l2(parse_camera_url("/dev/video0?size=1280x720"), 100_000)
    assert AVideoCapture.instances[-1].released


def test_a_device_in_use_names_who_has_it(camera, monkeypatch):
    monkeypatch.setattr(AVideoCapture, "opens", False)
    monkeypatch.setattr(v4l2, "processes_with", lambda _: [Process(41, "cheese")])
    with pytest.raises(SourceError, match=r"/dev/video0: cannot be opened: it is in use by cheese \(process 41\)"):
        camera("/dev/video0")
    assert AVideoCapture.instances[-1].released


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "x"), "no such device; there are /dev/v4l/by-id/usb-A-video-index0"),
        (PermissionError(13, "x"), r"permission denied; sudo usermod -aG video \$USER, and log in again"),
        (OSError(16, "Device or resource busy"), "cannot be opened: Device or resource busy"),
    ],
)
def test_errors_of_the_system_say_what_to_do(error, message, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(v4l2.os, "open", fail)
    monkeypatch.setattr(v4l2, "devices", lambda: ["/dev/v4l/by-id/usb-A-video-index0"])
    with pytest.raises(SourceError, match=f"/dev/video7: {message}"):
        v4l2.open_v4l2(parse_camera_url("/dev/video7"), 10**7)


def test_a_path_by_id_leads_to_where_the_camera_is_plugged_in_now(camera, tmp_path, monkeypatch):
    link = tmp_path / "usb-A-video-index0"
    for target in ("video0", "video4"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / target)
        v4l2.open_v4l2(SimpleNamespace(**{**vars(parse_camera_url("/dev/video0")), "address": str(link)}), 10**7)
        assert AVideoCapture.instances[-1].path == str((tmp_path / target).resolve())
