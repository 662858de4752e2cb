"""Outputs of runs without end, cut into parts by time or size, each part complete."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.sinks.earlier_part import timed_path
from nanoseg.sinks.sink import Sink
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import part_path

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|m|h|d|kB|KB|MB|GB)")
_SECONDS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_OLDEST_S = 11.0  # age of a frame that is taken at once, at most, and a margin
_BYTES = {"kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


class Rotation(NamedTuple):
    """How much goes into one part; one of the two."""

    seconds: float | None = None
    bytes: float | None = None


def parse_rotation(text: str) -> Rotation:
    """Return the rotation that `10min`, `1h`, `30s`, `2d`, `100MB` or `1GB` names.

    Raises:
        UsageError: it is of another form, or zero.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--rotate {text}: wanted a time or a size, such as 30s, 10min, 1h, 100MB or 1GB")
    number, unit = float(match[1]), match[2]
    return Rotation(seconds=number * _SECONDS[unit]) if unit in _SECONDS else Rotation(bytes=number * _BYTES[unit])


class Rotating:
    """Sink that writes `found-20261129T051800Z.jsonl`, then the next part, each named by its first frame's capture.

    A part is cut between two frames, completed while the next one is written, as its disk may take a while, and then
    renamed to its name.
    """

    may_wait = False

    def __init__(self, path: Path, rotation: Rotation, make: Callable[[Path], Sink]) -> None:
        """Write nothing yet: the first frame opens the first part.

        Args:
            path: the output's name, of which the parts' names are made.
            rotation: how much goes into a part.
            make: makes the sink of one part.
        """
        self._path, self._rotation, self._make = path, rotation, make
        self._sink: Sink | None = None
        self._ending: _Ending | None = None  # of the part before
        self._part, self._first_ns = path, 0
        self._failed: Sink | None = None

    @property
    def kept(self) -> Path | None:
        """The temporary file of a part that failed."""
        sink = self._failed or self._sink
        return sink.kept if sink is not None else None

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write one frame, to the next part where this one is full; raises what completing the one before raised."""
        if self._ending is not None and not self._ending.is_alive():
            self._complete()
        if self._sink is not None and self._is_full(frame):
            self._complete()
            self._ending, self._sink = _Ending(self._sink), None
            self._ending.start()
        if self._sink is None:
            self._part, self._first_ns = timed_path(self._path, frame.captured_ns / 1e9), frame.captured_ns
            self._sink = self._make(self._part)
            self._sink.__enter__()
        self._sink.write(frame, detections, annotated)

    def __enter__(self) -> Rotating:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._sink is not None:
                self._sink.__exit__(kind, error, trace)
        finally:
            self._complete()

    def _complete(self) -> None:
        """Wait until the part before is complete; raises what that raised."""
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.join()
            if ending.error is not None:
                self._failed = ending.sink
                raise ending.error

    def _is_full(self, frame: Frame) -> bool:
        if self._rotation.seconds is not None:
            # Another camera's frame may be older than the part's first one; after a clock that was set back no frame
            # would fill it.
            passed_s = (frame.captured_ns - self._first_ns) / 1e9
            return passed_s >= self._rotation.seconds or passed_s < -_OLDEST_S
        with suppress(OSError):  # its folder was removed
            return self._rotation.bytes is not None and part_path(self._part).stat().st_size >= self._rotation.bytes
        return False


class _Ending(threading.Thread):
    """The completion of a part."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(name="nanoseg-part", daemon=True)
        self.sink = sink
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.sink.__exit__(None, None, None)
        except BaseException as error:
            self.error = error
