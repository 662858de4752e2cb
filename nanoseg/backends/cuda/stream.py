"""Streams of a GPU, events between them, and work captured once to be launched many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nanoseg.backends.cuda.calls import PIP_LINE
from nanoseg.backends.cuda.driver import Driver
from nanoseg.backends.cuda.owned import Owned
from nanoseg.errors import EngineError


class Event(Owned):
    """A place in a stream that can be waited for. One that was never recorded counts as reached."""

    def __init__(self, driver: Driver, timing: bool) -> None:
        super().__init__(driver.new_event(timing), driver.free_event)
        self._driver, self.timing = driver, timing

    def record(self, stream: Stream, external: bool = False) -> None:
        """Mark the work that `stream` has been given so far.

        Inside a capture a plain record only orders the work of that graph. With `external` each launch of the graph
        records the event anew, and whoever stands outside can wait for it; it is for captures alone.
        """
        self._driver.record(self.value, stream.value, external)

    def synchronize(self) -> None:
        """Wait here until it is reached."""
        self._driver.synchronize_event(self.value)

    def done(self) -> bool:
        """Whether it is reached; does not wait."""
        return self._driver.done(self.value)

    def ms_since(self, earlier: Event) -> float:
        """GPU milliseconds between two events, both reached and made with timing=True."""
        if not (self.timing and earlier.timing):
            raise EngineError("Event: it keeps no time; make it with timing=True")
        return self._driver.milliseconds(earlier.value, self.value)


class Graph(Owned):
    """Captured work, ready to be launched, on the addresses that it was captured with: those must stay open."""

    def __init__(self, driver: Driver, value: Any) -> None:
        super().__init__(value, driver.free_graph)
        self._driver = driver

    def launch(self, stream: Stream) -> None:
        """Give all of it to `stream`, after what is there and after its own launch before."""
        self._driver.launch(self.value, stream.value)


class Capture:
    """What Stream.capture() yields: `graph` is there once its block is left."""

    def __init__(self) -> None:
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The work of the block, the caller's to close."""
        if self._graph is None:
            raise EngineError("Capture: there is no graph before the block of the capture is left")
        return self._graph


class Stream(Owned):
    """Work done in order, beside other streams and beside the legacy default stream."""

    def __init__(self, driver: Driver, keep: Callable[[Graph], Graph]) -> None:
        super().__init__(driver.new_stream(), driver.free_stream)
        self._driver, self._keep = driver, keep  # who closes what is captured, at the latest

    @property
    def handle(self) -> int:
        """CUDA's own, for libraries that put work on it."""
        return self._driver.handle(self.value)

    def wait(self, event: Event) -> None:
        """What is given to this stream from now on waits for the event as it was recorded last."""
        self._driver.wait(self.value, event.value)

    def synchronize(self) -> None:
        """Wait here until all of it is done."""
        self._driver.synchronize_stream(self.value)

    @contextmanager
    def capture(self) -> Iterator[Capture]:
        """Capture the work of a block instead of doing it.

        Nothing may be allocated or waited for in it. Another stream comes in by waiting for an event recorded on this
        one, and this one must wait for an event of it before the end. An error in the block ends the capture, and the
        stream is as usable as before.
        """
        if not self._driver.graphs:
            raise EngineError(f"{self._driver.name} captures no graphs: {PIP_LINE}")
        value, captured = self.value, Capture()
        try:
            self._driver.begin_capture(value)
            yield captured
        except BaseException:
            self._driver.end_capture(value, keep=False)
            raise
        captured._graph = self._keep(Graph(self._driver, self._driver.end_capture(value, keep=True)))
