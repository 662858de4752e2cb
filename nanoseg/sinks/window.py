"""A window that shows each annotated frame."""

from __future__ import annotations

import os
import sys
from types import TracebackType

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.sinks.sink import StopRequested
from nanoseg.types import Detections, Frame

with needs("OpenCV", "opencv"):
    import cv2

_TITLE = "nanoseg"
_QUIT_KEYS = (ord("q"), 27)  # q or Escape


class Window:
    """Sink that shows annotated frames; q or Escape ends the run."""

    may_wait = True  # for the display
    kept = None

    def __init__(self) -> None:
        """Open the window; raises UsageError where there is no display, or OpenCV was built without windows."""
        # Checked before OpenCV is called: Qt ends the whole process where it finds none.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError("--show: there is no display here; write pictures with --out instead")
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise UsageError(
                "--show: this OpenCV was built without windows; install opencv-python in place of "
                "opencv-python-headless, or write pictures with --out instead"
            ) from error

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Show one frame; raises StopRequested where the user pressed q or Escape."""
        if annotated is None:
            return
        cv2.imshow(_TITLE, annotated)
        if cv2.waitKey(1) & 0xFF in _QUIT_KEYS:
            raise StopRequested

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cv2.destroyAllWindows()
