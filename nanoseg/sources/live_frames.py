"""A live source as others are read: iterated, each time the newest frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from nanoseg.errors import SourceError
from nanoseg.sources.camera import Camera
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.source import Source
from nanoseg.types import Frame

FIRST_FRAME_S = 30.0  # a source that gives no frame for so long is not there


class LiveFrames:
    """The frames of a camera, which starts with the first of them."""

    def __init__(self, camera: Camera) -> None:
        """Read a camera that was not started."""
        self._camera = camera

    def __iter__(self) -> Iterator[Frame]:
        self._camera.start()
        frame = self._camera.read(FIRST_FRAME_S)
        if frame is None and (status := self._camera.status()).state not in ("ended", "closed"):
            self._camera.close()
            raise SourceError(f"{self._camera.url.name}: no frame within {FIRST_FRAME_S:.0f} s: {status.reason}")
        while frame is not None:
            yield frame
            frame = self._camera.read()
        if self._camera.error is not None:
            raise self._camera.error

    def close(self) -> None:
        """Close the camera."""
        self._camera.close()


def open_live(url: CameraUrl, max_pixels: int, behind: Source | None = None) -> Source:
    """Return a live source that is opened when it is iterated, and again whenever it is lost.

    What is told of it goes to the logger `nanoseg`.

    Args:
        url: the source.
        max_pixels: the largest frame that is accepted.
        behind: the source that is read at its own pace; it is closed.
    """
    camera = Camera(url, max_pixels=max_pixels, on_message=logging.getLogger("nanoseg").warning)
    if behind is None:
        return Source(LiveFrames(camera), None, None, camera=camera)
    behind.close()
    return Source(LiveFrames(camera), None, behind.fps, behind.paths, video=behind.video, camera=camera)
