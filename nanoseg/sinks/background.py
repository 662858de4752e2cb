"""Sinks of live sources, each in a thread: a slow disk or window delays neither the cameras nor the other sinks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

from nanoseg.errors import NanosegError
from nanoseg.sinks.sink import Sink
from nanoseg.types import Detections, Frame
from nanoseg.utils.histogram import Histogram
from nanoseg.utils.signals import uninterrupted
from nanoseg.utils.terminal import plural, print_error
from nanoseg.utils.timing import frame_age_ms

CAPACITY = 8  # frames that wait for a sink
IDLE_S = 0.5  # without a frame, after which a sink's `idle` is called
CLOSE_S = 10.0  # in which a sink has to write those that wait at the end, and to complete its files

Annotate = Callable[[Frame, Detections], np.ndarray]


class LiveResult:
    """A frame with its objects; pixels of masks and the drawing are computed once, by the first sink that asks."""

    def __init__(self, frame: Frame, found: Detections, annotate: Annotate | None = None) -> None:
        """Keep a result, which owns its memory; with None for `annotate` there is no drawing."""
        self.frame = frame
        self._found, self._annotate = found, annotate
        self._lock = threading.Lock()
        self._materialized = False
        self._image: np.ndarray | None = None

    def found(self) -> Detections:
        """Return the objects, with raster masks."""
        with self._lock:
            return self._materialize()

    def image(self) -> np.ndarray | None:
        """Return the drawn frame, (H, W, 3) uint8 BGR, which is shared: not to be drawn on."""
        with self._lock:
            if self._image is None and self._annotate is not None:
                self._image = self._annotate(self.frame, self._materialize())
            return self._image

    def _materialize(self) -> Detections:
        if not self._materialized:
            self._found, self._materialized = self._found.materialize(), True
        return self._found


class Background:
    """Write to a sink in a thread of its own; a frame that comes while `capacity` others wait is dropped and counted.

    An error of the sink, or its wish to stop, is raised by the next `write` or at the end.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        *,
        draws: bool = False,
        capacity: int = CAPACITY,
        idle: Callable[[], None] | None = None,
    ) -> None:
        """Wrap a sink.

        Args:
            sink: entered and left with this one.
            name: of its output, for messages.
            draws: whether it wants the drawn frame.
            capacity: frames that wait for it.
            idle: called in the sink's thread every `IDLE_S` seconds while no frame comes.
        """
        self.sink, self.name = sink, name
        self.written = self.dropped = 0  # frames
        self.ages_ms = Histogram()  # of the frames that are written, from their capture
        self._draws, self._capacity, self._idle = draws, capacity, idle
        self._wake, self._waiting = threading.Condition(), deque[LiveResult]()
        self._end_s: float | None = None  # when the end was asked for
        self._how: tuple[type[BaseException] | None, BaseException | None, TracebackType | None] = (None, None, None)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"nanoseg-{name}", daemon=True)

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left, where the frames before can be read from it."""
        return self.sink.kept

    def write(self, result: LiveResult) -> None:
        """Take a frame without waiting.

        Raises:
            BaseException: what the sink raised on an earlier frame.
        """
        self.check()
        with self._wake:
            if len(self._waiting) >= self._capacity:
                self.dropped += 1
                return
            self._waiting.append(result)
            self._wake.notify()

    def check(self) -> None:
        """Raise what the sink raised on an earlier frame."""
        with self._wake:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def end(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Start to write what waits and to leave the sink, without waiting for it."""
        with self._wake:
            if self._end_s is None:
                self._end_s, self._how = time.monotonic(), (kind, error, trace)
                self._wake.notify()

    def __enter__(self) -> Background:
        self.sink.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the sink once it wrote what waits, at most `CLOSE_S` seconds after `end`; raises what it raised."""
        self.end(kind, error, trace)
        if self._thread.ident is None:  # entering failed
            self.sink.__exit__(kind, error, trace)
            return
        with uninterrupted():
            self._thread.join(max(0.0, (self._end_s or 0.0) + CLOSE_S - time.monotonic()))
        if self._thread.is_alive():
            with self._wake:
                waiting = len(self._waiting)
                self._waiting.clear()
            self.dropped += waiting
            print_error(
                f"{self.name}: takes no frames any more; left after {CLOSE_S:g} s, {plural(waiting, 'frame')} not "
                "written"
            )
        elif self._failure is not None and kind is None:
            raise self._failure
        elif isinstance(self._failure, NanosegError):  # the run ends for another reason
            kept = f"; the frames before it are in {self.kept}" if self.kept else ""
            print_error(f"{self._failure}{kept}")

    def _run(self) -> None:
        try:
            try:
                self._write_all()
            except BaseException as error:
                with self._wake:
                    self._failure = error
                    self._waiting.clear()
                self.sink.__exit__(type(error), error, error.__traceback__)
            else:
                self.sink.__exit__(*self._how)
        except BaseException as error:
            with self._wake:
                self._failure = self._failure or error

    def _write_all(self) -> None:
        """Write frames until the end, and until none waits."""
        while True:
            with self._wake:
                if not self._waiting and self._end_s is None:
                    self._wake.wait(None if self._idle is None else IDLE_S)
                result = self._waiting.popleft() if self._waiting else None
                if result is None and self._end_s is not None:
                    return
            if result is not None:
                self.sink.write(result.frame, result.found(), result.image() if self._draws else None)
                self.written += 1
                self.ages_ms.add(frame_age_ms(result.frame.captured_ns, time.time_ns()))
            elif self._idle is not None:
                self._idle()
