"""The interface of what reads a live source, and its choice by the source's kind."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from nanoseg.sources.camera_url import CameraUrl, Kind


class EndOfSource(Exception):  # noqa: N818 - not an error
    """A source that ends by its nature, such as a file, gave its last frame."""

    def __init__(self, overdue: int = 0) -> None:
        """Take the number of frames that it left out behind that one."""
        super().__init__()
        self.overdue = overdue


@dataclass(frozen=True, eq=False)
class Captured:
    """One frame of a live source."""

    image: np.ndarray  # (H, W, 3) uint8, BGR; valid until the next read
    captured_ns: int  # time.time_ns() of the moment it shows, as well as the source tells
    media_ns: int | None = None  # the source's own clock, from any zero
    overdue: int = 0  # frames that a source with a pace left out before this one, as their time had passed


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


def load_capture(url: CameraUrl) -> None:
    """Load what opens a source, with its libraries. Raises DependencyError."""
    import_module(f"nanoseg.sources.{_opener(url)[0]}")


def open_capture(url: CameraUrl, max_pixels: int, started_ns: int) -> Capture:
    """Open a live source.

    Args:
        url: the source, with what is wanted of it.
        max_pixels: the largest frame that is accepted.
        started_ns: time.monotonic_ns() of the camera's start, which its capture processes have in common.

    Raises:
        SourceError: it cannot be opened; trying again later may help.
        DependencyError: a library is missing.
    """
    module, function = _opener(url)
    opener = getattr(import_module(f"nanoseg.sources.{module}"), function)
    capture: Capture = opener(url, max_pixels, started_ns) if url.kind == "faults" else opener(url, max_pixels)
    return capture


def is_jetson() -> bool:
    """Return whether this machine has Jetson's elements of GStreamer."""
    return _TEGRA.exists()


def by_gstreamer(url: CameraUrl) -> bool:
    """Return whether a device or stream is read by GStreamer: a Jetson decodes RTSP in hardware by it."""
    if url.backend == "auto":
        return url.kind == "stream" and url.address.lower().startswith("rtsp") and is_jetson() and has_gstreamer()
    return url.backend == "gstreamer"


def has_gstreamer() -> bool:
    """Return whether there is an OpenCV that reads GStreamer's pipelines."""
    try:
        import cv2
    except (ImportError, OSError):
        return False
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def _opener(url: CameraUrl) -> tuple[str, str]:
    return _GSTREAMER if by_gstreamer(url) else _OPENERS[url.kind]


_TEGRA = Path("/etc/nv_tegra_release")
_GSTREAMER = ("capture.gstreamer", "open_gstreamer")
# By kind: a module, which is loaded with its libraries when it is wanted, and its function.
_OPENERS: dict[Kind, tuple[str, str]] = {
    "v4l2": ("capture.v4l2", "open_v4l2"),
    "csi": ("capture.gstreamer", "open_csi"),
    "stream": ("capture.stream", "open_stream"),
    "live": ("capture.paced", "open_paced"),
    "faults": ("faults", "open_faulty"),
}
