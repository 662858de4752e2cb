"""Streams of a GPU, events between them, and CUDA graphs captured from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nanoseg.backends.cuda.driver import PIP_LINE, Driver, DriverResource
from nanoseg.errors import EngineError


class Event(DriverResource):
    """A point in a stream's work that can be waited for; one that was never recorded counts as reached."""

    def __init__(self, driver: Driver, timing: bool) -> None:
        super().__init__(driver.create_event(timing), driver.destroy_event)
        self._driver, self.timing = driver, timing

    def record(self, stream: Stream, external: bool = False) -> None:
        """Record the work that was enqueued on `stream` so far.

        Inside a capture a plain record only orders the work of that graph. With `external`, which is for captures
        alone, each launch of the graph records the event anew, and code outside the capture can wait for it.
        """
        self._driver.record_event(self.value, stream.value, external)

    def synchronize(self) -> None:
        """Block the host until it is reached."""
        self._driver.synchronize_event(self.value)

    def query(self) -> bool:
        """Return whether it is reached, without waiting."""
        return self._driver.query_event(self.value)

    def ms_since(self, earlier: Event) -> float:
        """Return the GPU milliseconds since another event; both are reached and were created with timing=True."""
        if not (self.timing and earlier.timing):
            raise EngineError("Event: it has no timing; create it with timing=True")
        return self._driver.elapsed_ms(earlier.value, self.value)


class CudaGraph(DriverResource):
    """A captured and instantiated CUDA graph; the buffers that it was captured with must stay open."""

    def __init__(self, driver: Driver, value: Any) -> None:
        super().__init__(value, driver.destroy_graph)
        self._driver = driver

    def launch(self, stream: Stream) -> None:
        """Launch it on `stream`, after the work there and after its own previous launch."""
        self._driver.launch_graph(self.value, stream.value)


class Capture:
    """The result of Stream.capture(): `graph` is set once the block is left."""

    def __init__(self) -> None:
        self._graph: CudaGraph | None = None

    @property
    def graph(self) -> CudaGraph:
        """The work of the block; the caller closes it."""
        if self._graph is None:
            raise EngineError("Capture: there is no graph before the block of the capture is left")
        return self._graph


class Stream(DriverResource):
    """A non-blocking stream: its work runs in order, beside other streams and the legacy default stream."""

    def __init__(self, driver: Driver, register: Callable[[CudaGraph], CudaGraph], high: bool) -> None:
        super().__init__(driver.create_stream(high), driver.destroy_stream)
        self._driver, self._register = driver, register  # the Gpu closes graphs that are left open

    @property
    def handle(self) -> int:
        """The CUstream as an integer, for libraries that enqueue work on it."""
        return self._driver.stream_handle(self.value)

    def wait(self, event: Event) -> None:
        """Make work that is enqueued from now on wait for the event as it was recorded last."""
        self._driver.wait_event(self.value, event.value)

    def synchronize(self) -> None:
        """Block the host until all of its work is done."""
        self._driver.synchronize_stream(self.value)

    @contextmanager
    def capture(self) -> Iterator[Capture]:
        """Capture the work that is enqueued in a block instead of running it.

        Nothing may be allocated or waited for in the block. Another stream joins by waiting for an event recorded on
        this one, and this one must wait for an event of it before the end. An error in the block ends the capture,
        and the stream can be used as before.
        """
        if not self._driver.supports_graphs:
            raise EngineError(f"{self._driver.name} captures no graphs: {PIP_LINE}")
        value, captured = self.value, Capture()
        try:
            self._driver.begin_capture(value)
            yield captured
        except BaseException:
            self._driver.end_capture(value, keep=False)
            raise
        captured._graph = self._register(CudaGraph(self._driver, self._driver.end_capture(value, keep=True)))
