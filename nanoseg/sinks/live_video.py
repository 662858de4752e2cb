"""The annotated video of a live source, by the times of its frames' capture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from nanoseg.sinks.video import Video
from nanoseg.types import Detections, Frame

_LONGEST_NS = 6 * 3600 * 10**9  # between two frames: mp4 has 31 bits for it, and a clock that is set jumps by years
_FPS = 25.0  # nominal: of the last frame, and after a clock that was set back


class LiveVideo:
    """Sink that writes an mp4 file which plays at the rate of the capture, also where that was cut off.

    A camera that returns with another size goes on in the same video, scaled into the size of its first frame.
    """

    may_wait = False

    def __init__(self, path: Path, sources: tuple[Path, ...] = ()) -> None:
        """Claim the file; errors are those of `Video`."""
        self._video = Video(path, _FPS, sources, endless=True)
        self._last_ns: int | None = None
        self._media_ns = 0

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left; it plays."""
        return self._video.kept

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write one frame; raises UsageError where the video cannot be written."""
        if self._last_ns is not None:
            passed_ns = frame.captured_ns - self._last_ns
            self._media_ns += min(passed_ns, _LONGEST_NS) if passed_ns > 0 else round(1e9 / _FPS)
        self._last_ns = frame.captured_ns
        self._video.write(replace(frame, media_ns=self._media_ns, duration_ns=None), detections, annotated)

    def __enter__(self) -> LiveVideo:
        self._video.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._video.__exit__(kind, error, trace)
