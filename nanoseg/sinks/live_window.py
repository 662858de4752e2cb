"""The window of a live source, with its rate, age and drops."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

from nanoseg.errors import needs
from nanoseg.sinks.window import Window
from nanoseg.types import Detections, Frame
from nanoseg.utils.timing import frame_age_ms

with needs("OpenCV", "opencv"):
    import cv2

_FRAMES = 30  # over which the rate is measured
_AWAY_S = 1.0  # without a frame, after which that is told
_FONT, _LIGHT, _DARK = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255), (16, 16, 16)


class LiveWindow:
    """Sink that shows annotated frames in a window named as their source, with `12.4 fps  84 ms  3 dropped`."""

    may_wait = True  # for the display
    kept: Path | None = None

    def __init__(self, name: str, dropped: Callable[[], int], *, alone: bool = False) -> None:
        """Start the window's process.

        Args:
            name: of the source.
            dropped: returns the number of its frames that were not shown.
            alone: whether the run has no other output.

        Raises:
            UsageError: there is no display.
        """
        self._window, self._dropped = Window(alone, name), dropped
        self._shown_s: deque[float] = deque(maxlen=_FRAMES)
        self._last: tuple[Frame, Detections, np.ndarray] | None = None

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Show one frame; raises StopRequested and UsageError as `Window` does."""
        if annotated is None:
            return
        self._shown_s.append(time.monotonic())
        parts = [f"{frame_age_ms(frame.captured_ns, time.time_ns()):.0f} ms"]
        spent_s = self._shown_s[-1] - self._shown_s[0]
        if spent_s > 0:
            parts.insert(0, f"{(len(self._shown_s) - 1) / spent_s:.1f} fps")
        if dropped := self._dropped():
            parts.append(f"{dropped} dropped")
        self._last = frame, detections, annotated
        self._window.write(frame, detections, draw_status(annotated, "  ".join(parts)))

    def idle(self) -> None:
        """Tell that no frame comes, and look for the user's key; raises as `write` does."""
        if self._last is None:
            return
        frame, detections, annotated = self._last
        away_s = time.monotonic() - self._shown_s[-1]
        if away_s >= _AWAY_S:
            self._window.write(frame, detections, draw_status(annotated, f"no frame for {away_s:.0f} s"))

    def __enter__(self) -> LiveWindow:
        self._window.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window.__exit__(kind, error, trace)


def draw_status(image: np.ndarray, text: str) -> np.ndarray:
    """Return a copy of an image (H, W, 3) uint8 BGR with a small line of text in its upper left corner."""
    image = image.copy()
    scale = max(0.4, image.shape[0] / 480 * 0.4)
    thickness = max(1, round(scale * 2))
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = height // 2
    cv2.rectangle(image, (0, 0), (width + 2 * pad, height + below + pad), _DARK, cv2.FILLED)
    cv2.putText(image, text, (pad, height + pad), _FONT, scale, _LIGHT, thickness, cv2.LINE_AA)
    return image
