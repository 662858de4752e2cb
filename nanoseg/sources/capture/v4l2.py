"""V4L2 devices (USB cameras, capture cards) by OpenCV: format, size and rate negotiated, times of the driver."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nanoseg.errors import SourceError, needs, os_reason
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Captured
from nanoseg.sources.capture.jpeg import decode_jpeg
from nanoseg.sources.capture.pixels import ToBgr
from nanoseg.sources.source import check_pixels
from nanoseg.utils.open_files import processes_with

with needs("OpenCV", "opencv"):
    import cv2

_BY_ID = "/dev/v4l/by-id"
_MAX_AGE_NS = 10 * 10**9
_LARGE_PIXELS = 640 * 480  # raw pixels of more do not pass USB 2 at a camera's full rate
_JPEG = ("MJPG", "JPEG")


class V4l2Capture:
    """A capture of a V4L2 device.

    The JPEG pictures of MJPG are decoded here and not by OpenCV, which shows those that are cut with grey or smeared
    rows and says nothing.
    """

    def __init__(self, url: CameraUrl, max_pixels: int) -> None:
        """Open the device; see `open_v4l2`."""
        self._name, self._path, self._max_pixels, self.damaged = url.name, url.address, max_pixels, 0
        _check(url.address)
        self._video = cv2.VideoCapture(os.path.realpath(url.address), cv2.CAP_V4L2)
        if not self._video.isOpened():
            self._video.release()
            raise SourceError(f"{url.address}: cannot be opened: {_why_not(url.address)}")
        try:
            self._negotiate(url)
        except BaseException:
            self._video.release()
            raise
        self.clock = "source"

    def _negotiate(self, url: CameraUrl) -> None:
        """Set what is wanted, the format first as it decides which sizes there are, and read back what came of it."""
        form = url.format
        if form is None and url.size_wh is not None and url.size_wh[0] * url.size_wh[1] > _LARGE_PIXELS:
            form = "MJPG"
        if form is not None:
            self._video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*f"{form:4}"))
        if url.size_wh is not None:
            self._video.set(cv2.CAP_PROP_FRAME_WIDTH, url.size_wh[0])
            self._video.set(cv2.CAP_PROP_FRAME_HEIGHT, url.size_wh[1])
        if url.fps is not None:
            self._video.set(cv2.CAP_PROP_FPS, url.fps)
        got = int(self._video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1").strip("\0 ")
        width, height = (int(self._video.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        check_pixels(url.address, (width, height), self._max_pixels)
        fps = self._video.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else None
        # OpenCV converts the other formats itself.
        self._jpeg = got in _JPEG and self._video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        self._to_bgr = ToBgr((width, height))
        wanted = [
            f"{url.size_wh[0]}x{url.size_wh[1]}" if url.size_wh not in (None, (width, height)) and url.size_wh else "",
            url.format if url.format not in (None, got) else "",
            f"{url.fps:g} fps"
            if url.fps is not None and self.fps is not None and abs(url.fps - self.fps) > 0.5
            else "",
        ]
        self.description = f"{width}x{height} {got}{f' {self.fps:g} fps' if self.fps else ''}, V4L2 by OpenCV"
        if any(wanted):
            self.description += f" (wanted {' '.join(filter(None, wanted))})"

    def read(self) -> Captured:
        """Wait for the next whole frame; raises SourceError where the device is lost."""
        while True:
            if not self._video.grab():
                reason = "it gives no frames" if Path(self._path).exists() else "it is gone"
                raise SourceError(f"{self._path}: {reason}")
            captured_ns = self._captured_ns()
            taken, pixels = self._video.retrieve()
            if not taken or pixels is None:
                self.damaged += 1
                continue
            if not self._jpeg:
                return Captured(self._to_bgr.convert(pixels), captured_ns)
            image = self._decoded(pixels)
            if image is not None:
                return Captured(image, captured_ns)
            self.damaged += 1

    def close(self) -> None:
        """Close the device."""
        self._video.release()

    def _decoded(self, pixels: np.ndarray) -> np.ndarray | None:
        image = decode_jpeg(pixels.tobytes())
        if image is not None:
            check_pixels(self._path, (image.shape[1], image.shape[0]), self._max_pixels)
        return image

    def _captured_ns(self) -> int:
        """Return when the frame was captured: the driver stamps its buffers by the monotonic clock."""
        now_ns, monotonic_ns = time.time_ns(), time.monotonic_ns()
        age_ns = monotonic_ns - int(self._video.get(cv2.CAP_PROP_POS_MSEC) * 1_000_000)
        if 0 <= age_ns <= _MAX_AGE_NS:
            self.clock = "source"
            return now_ns - age_ns
        self.clock = "arrival"  # of a driver that stamps by another clock, or not at all
        return now_ns


def open_v4l2(url: CameraUrl, max_pixels: int) -> V4l2Capture:
    """Open a V4L2 device.

    Args:
        url: the device; a path of /dev/v4l/by-id stays that of one camera, wherever it is plugged in again.
        max_pixels: the largest frame that is accepted.

    Raises:
        SourceError: it is not there, in use, not permitted, or gives no pictures.
    """
    return V4l2Capture(url, max_pixels)


def devices() -> Sequence[str]:
    """Return the V4L2 devices of this machine, by their names that stay where there are any."""
    by_id = sorted(str(path) for path in Path(_BY_ID).glob("*-index0"))
    return by_id or sorted(str(path) for path in Path("/dev").glob("video*"))


def _check(path: str) -> None:
    """Raise SourceError with the system's reason where a device cannot be opened."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError as error:
        there = ", ".join(devices())
        raise SourceError(
            f"{path}: no such device; {f'there are {there}' if there else 'there is no camera'}"
        ) from error
    except PermissionError as error:
        raise SourceError(f"{path}: permission denied; sudo usermod -aG video $USER, and log in again") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {os_reason(error)}{_users(path)}") from error


def _why_not(path: str) -> str:
    users = _users(path)
    return f"it is in use{users}" if users else "it is no camera, or in use; nanoseg doctor tells more"


def _users(path: str) -> str:
    users = [f"{process.name} (process {process.pid})" for process in processes_with(path)]
    return f" by {', '.join(users)}" if users else ""
