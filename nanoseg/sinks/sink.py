"""The protocol of sinks: what receives each frame of a run with its detections.

A sink writes under a temporary name and renames at the end, so that a file with its final name is complete. After
Ctrl-C, SIGTERM or SIGHUP, or where the source fails, what was written so far is complete too, and is kept. After any
other error it is kept under its temporary name, which the message states.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from nanoseg.errors import SourceError
from nanoseg.types import Detections, Frame


class StopRequested(Exception):  # noqa: N818 - not an error
    """Raised by a sink whose user wants no more frames: the run ends normally."""


# Ends before the last frame after which the frames written so far are good.
_CLEAN_ENDS = (StopRequested, KeyboardInterrupt, SourceError, BrokenPipeError)


class Sink(Protocol):
    """Receives one frame after the other; leaving its `with` block completes its files."""

    @property
    def may_wait(self) -> bool:
        """Whether writing a frame may wait for someone: the reader of a pipe, a display. A signal interrupts that."""

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left, where the frames before can be read from it."""

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Take one frame.

        Args:
            frame: the frame.
            detections: what was found in it.
            annotated: (H, W, 3) uint8 BGR, the frame with the detections drawn on it; None where no sink draws.
        """

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def is_clean_end(kind: type[BaseException] | None) -> bool:
    """Return whether the output is kept where a run ends with an exception of class `kind`, or None."""
    return kind is None or issubclass(kind, _CLEAN_ENDS)
