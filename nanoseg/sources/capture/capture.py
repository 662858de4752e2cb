"""The interface of what reads a live source, and its choice by the source's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nanoseg.sources.camera_url import CameraUrl


class EndOfSource(Exception):  # noqa: N818 - not an error
    """A source that ends by its nature, such as a file, gave its last frame."""


@dataclass(frozen=True, eq=False)
class Captured:
    """One frame of a live source."""

    image: np.ndarray  # (H, W, 3) uint8, BGR; valid until the next read
    captured_ns: int  # time.time_ns() of the moment it shows, as well as the source tells
    media_ns: int | None = None  # the source's own clock, from any zero


class Capture(Protocol):
    """An open live source.

    It runs in the capture process, so that a read or close that never returns ends with that process.
    """

    description: str  # what was negotiated: "1280x720 MJPG 30 fps, V4L2 by OpenCV"
    fps: float | None  # frames a second as the source declares it; None where it does not
    clock: str  # what captured_ns comes from: "source", or "arrival" where the source tells no time
    damaged: int  # frames so far that are lost or show errors

    def read(self) -> Captured:
        """Wait for the next frame.

        Raises:
            SourceError: the source is lost.
            EndOfSource: it gave its last frame.
        """

    def close(self) -> None:
        """Close the source."""


def open_capture(url: CameraUrl, max_pixels: int) -> Capture:
    """Open a live source.

    Args:
        url: the source, with what is wanted of it.
        max_pixels: the largest frame that is accepted.

    Raises:
        SourceError: it cannot be opened; trying again later may help.
        DependencyError: a library is missing.
    """
    raise NotImplementedError(url.kind)
