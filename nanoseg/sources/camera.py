"""A camera: the newest frame of a live source, which is opened again whenever it is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nanoseg.sources.camera_url import CameraUrl
from nanoseg.types import Frame

State = Literal["connecting", "live", "lost", "ended", "closed"]


@dataclass(frozen=True)
class CameraStatus:
    """What a camera did so far."""

    state: State
    description: str = ""  # what was negotiated: "1280x720 MJPG 30 fps, V4L2 by OpenCV"
    clock: str = "arrival"  # what Frame.captured_ns comes from: "source" or "arrival"
    fps: float | None = None  # measured over the last seconds
    frames: int = 0  # captured
    dropped: Mapping[str, int] = field(default_factory=dict)  # frames by reason: "newer", "damaged", "frozen"
    reconnects: int = 0
    lost_s: float = 0.0  # without frames, in all
    reason: str = ""  # why it is not live: one line


class Camera:
    """Read the newest frame of a live source.

    A process of its own captures; frames that are not read in time are replaced by newer ones and counted. A watchdog
    ends that process where no fresh frame comes, and opens the source again with growing pauses, for ever.
    """

    name: str  # of its URL

    def __init__(
        self,
        url: CameraUrl,
        *,
        max_pixels: int,
        on_message: Callable[[str], None] | None = None,
        on_frame: Callable[[], None] | None = None,
    ) -> None:
        """Describe a camera; `start` opens it.

        Args:
            url: the source.
            max_pixels: the largest frame that is accepted.
            on_message: called with one line when the source is lost, and one when it is back.
            on_frame: called from the reading thread when a fresh frame is there, and when the source has ended.
        """
        raise NotImplementedError

    def start(self) -> Camera:
        """Start to open the source, without waiting for it; returns the camera."""
        raise NotImplementedError

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """Return the newest frame that was not read before.

        Args:
            timeout_s: how long to wait for it; None: until there is one.

        Returns:
            The frame, owned by the caller, or None after the time, and where the source has ended or is closed.
        """
        raise NotImplementedError

    def status(self) -> CameraStatus:
        """Return what the camera did so far."""
        raise NotImplementedError

    def close(self) -> None:
        """End the capture process, within a second whatever it does. May be called twice."""
        raise NotImplementedError
