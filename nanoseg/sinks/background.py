"""Sinks of live sources, each in a thread: a slow disk or window delays neither the cameras nor the other sinks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from nanoseg.sinks.sink import Sink
from nanoseg.types import Detections, Frame
from nanoseg.utils.terminal import plural, print_error

CAPACITY = 8  # frames that wait for a sink
CLOSE_S = 10.0  # in which a sink has to write those that wait at the end


class Drawing:
    """A frame drawn once for all sinks that want it, in the thread of the first one."""

    def __init__(
        self, annotate: Callable[[Frame, Detections], np.ndarray] | None, frame: Frame, found: Detections
    ) -> None:
        """Keep what is to be drawn; with None for `annotate` there is no picture."""
        self._annotate, self._frame, self._found = annotate, frame, found
        self._lock = threading.Lock()
        self._image: np.ndarray | None = None

    def image(self) -> np.ndarray | None:
        """Return the drawn frame, (H, W, 3) uint8 BGR."""
        with self._lock:
            if self._image is None and self._annotate is not None:
                self._image = self._annotate(self._frame, self._found)
            return self._image


class _Job(NamedTuple):
    frame: Frame
    found: Detections
    drawing: Drawing


class Background:
    """Write to a sink in a thread of its own; a frame that comes while `CAPACITY` others wait is dropped and counted.

    An error of the sink, or its wish to stop, is raised by the next `write` or at the end.
    """

    def __init__(self, sink: Sink, name: str) -> None:
        """Wrap a sink.

        Args:
            sink: entered and left with this one.
            name: of its output, for messages.
        """
        self.sink, self.name = sink, name
        self.dropped = 0  # frames
        self._wake, self._jobs = threading.Condition(), deque[_Job]()
        self._ending = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"nanoseg-{name}", daemon=True)

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left, where the frames before can be read from it."""
        return self.sink.kept

    def write(self, frame: Frame, found: Detections, drawing: Drawing) -> None:
        """Take a frame without waiting; its detections must own their memory.

        Raises:
            BaseException: what the sink raised on an earlier frame.
        """
        with self._wake:
            self._raise_failure()
            if len(self._jobs) >= CAPACITY:
                self.dropped += 1
                return
            self._jobs.append(_Job(frame, found, drawing))
            self._wake.notify()

    def __enter__(self) -> Background:
        self.sink.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, for at most `CLOSE_S` seconds, and leave the sink; raises what it raised."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():  # in the sink, which must not be left meanwhile
                with self._wake:
                    waiting = len(self._jobs)
                    self._jobs.clear()
                self.dropped += waiting
                print_error(
                    f"{self.name}: does not take frames any more; left after {CLOSE_S:g} s, {plural(waiting, 'frame')} "
                    "not written"
                )
                return
        failure, self._failure = self._failure, None
        if failure is None or kind is not None:
            self.sink.__exit__(kind, error, trace)
            return
        self.sink.__exit__(type(failure), failure, failure.__traceback__)
        raise failure

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._ending:
                    self._wake.wait()
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            try:
                self.sink.write(job.frame, job.found, job.drawing.image())
            except BaseException as error:
                with self._wake:
                    self._failure = error
                    self._jobs.clear()
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
