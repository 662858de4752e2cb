"""Any other source read live: a video, a folder or the simulated line at its own pace, as a camera would give it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from nanoseg.errors import SourceError
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Captured, EndOfSource
from nanoseg.sources.open import open_source
from nanoseg.types import Frame

_BEHIND_S = 1.0  # in which all frames came too late
_NEW = 0.2  # weight of the newest measurement
_IMAGES_FPS = 1.0  # of a folder, whose images have no time


class PacedSource:
    """A Capture of a source's frames at their times; those that come too late are left out and counted."""

    clock = "arrival"

    def __init__(self, url: CameraUrl, max_pixels: int) -> None:
        """Open a source."""
        self._unreadable = 0  # images of a folder
        self._source = open_source(url.address, max_pixels=max_pixels, on_error=self._skip)
        self.fps = self._source.fps or _IMAGES_FPS
        self.description = f"{url.address} at {self.fps:g} fps"
        self.damaged = 0
        self._frames: Iterator[Frame] = iter(self._source)
        self._count = 0
        self._start_s: float | None = None
        self._passed_s: float | None = None  # when the last frame was
        self._media_s = 0.0  # of the last one that was read
        self._lag_s = 0.0  # by which reading a frame takes longer than its period; more than 0: none is gained by skips

    def read(self) -> Captured:
        """Wait for the time of the next frame, and return it. Raises SourceError, EndOfSource."""
        overdue = 0
        while True:
            began_s = time.monotonic()
            frame = next(self._frames, None)
            self.damaged = self._source.report.damaged + self._unreadable
            if frame is None:
                raise EndOfSource(overdue)
            media_s = self._count / self.fps if frame.media_ns is None else frame.media_ns / 1e9
            self._count += 1
            now_s = time.monotonic()
            if self._start_s is None:
                self._start_s, self._media_s = now_s - media_s, media_s
            else:
                self._lag_s += _NEW * (now_s - began_s - (media_s - self._media_s) - self._lag_s)
                self._media_s = media_s
            ahead_s = self._start_s + media_s - now_s
            is_behind = self._passed_s is not None and now_s - self._passed_s > _BEHIND_S
            if ahead_s < 0 and (self._lag_s > 0 or is_behind):
                self._start_s, ahead_s = self._start_s - ahead_s, 0.0  # it is slower than its pace
            if ahead_s >= -1 / self.fps:  # else it is late by more than a frame
                time.sleep(max(0.0, ahead_s))
                self._passed_s = time.monotonic()
                return Captured(frame.image, time.time_ns(), round(media_s * 1e9), overdue)
            overdue += 1

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _skip(self, _: SourceError) -> None:
        self._unreadable += 1


def open_paced(url: CameraUrl, max_pixels: int) -> PacedSource:
    """Open any source that is no camera to be read at its own pace.

    Raises:
        SourceError: there is nothing to read.
        UsageError: an invalid `parts://`.
    """
    return PacedSource(url, max_pixels)
