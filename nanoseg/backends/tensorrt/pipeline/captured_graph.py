"""CUDA graphs of work that is repeated on the same addresses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.driver import OUT_OF_MEMORY, CudaError
from nanoseg.backends.cuda.stream import CudaGraph, Stream
from nanoseg.errors import EngineError, one_line


class CapturedGraph:
    """Work captured as a CUDA graph where that is possible, else enqueued anew at each launch."""

    def __init__(
        self, gpu: Gpu, stream: Stream, work: Callable[[Stream], None], refusal: Callable[[], str] = lambda: ""
    ) -> None:
        """Run the work once, wait for it, and capture it.

        Args:
            gpu: The GPU.
            stream: The stream that runs it.
            work: Enqueues it on a stream. It runs here, so that no other work may use the buffers that it writes to.
            refusal: Returns the reason why the work must not be captured, or "". Called after the first run.

        Raises:
            EngineError: Where the work fails outside of a capture, too, and where memory is short.
        """
        self._stream, self._work = stream, work
        self._graph: CudaGraph | None = None
        # TensorRT makes room for new shapes in the first run, which no graph can hold.
        self._try()
        self.refusal = refusal() if gpu.supports_graphs else f"{gpu.provider} captures no graphs"
        if self.refusal:
            return
        try:
            with stream.capture() as captured:
                work(stream)
            self._graph = captured.graph
        except EngineError as error:
            if isinstance(error, CudaError) and error.code == OUT_OF_MEMORY:
                raise
            # An engine may do what no graph can hold, such as wait for the GPU; it runs as before afterwards, says
            # TensorRT's developer guide, CUDA Graphs. What is broken fails again, and that is the error to report.
            self.refusal = one_line(error)
            # CUDA's runtime, which TensorRT uses, may report the capture's error to the next call:
            # cudaGetLastError, which trtexec calls here, is not the driver's.
            with suppress(EngineError):
                self._try()
            self._try()

    def launch(self) -> None:
        """Enqueue the work once more."""
        if self._graph is None:
            self._work(self._stream)
        else:
            self._graph.launch(self._stream)

    def close(self) -> None:
        """Free the graph, once its work has been waited for."""
        if self._graph is not None:
            self._graph.close()

    def _try(self) -> None:
        self._work(self._stream)
        self._stream.synchronize()
