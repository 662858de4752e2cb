"""Work that is done over and over on the same addresses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.driver import OUT_OF_MEMORY, CudaError
from nanoseg.backends.cuda.stream import Graph, Stream
from nanoseg.errors import EngineError, one_line


class Captured:
    """Captured as a graph where that can be done, else given to the stream anew each time."""

    def __init__(
        self, gpu: Gpu, stream: Stream, work: Callable[[Stream], None], invalid_reason: Callable[[], str] = lambda: ""
    ) -> None:
        """`work` gives it to a stream. It is done here, so what it writes to must be free; this waits for it.

        `invalid_reason` is asked after that: why the work is not to be captured, or nothing. Raises EngineError
        where the work
        fails outside of a capture, too, and where memory is short.
        """
        self._stream, self._work = stream, work
        self._graph: Graph | None = None
        # TensorRT makes room for new shapes in the first run, which no graph can hold.
        self._try()
        self.refused = invalid_reason() if gpu.supports_graphs else f"{gpu.provider} captures no graphs"
        if self.refused:
            return
        try:
            with stream.capture() as captured:
                work(stream)
            self._graph = captured.graph
        except EngineError as error:
            if isinstance(error, CudaError) and error.code == OUT_OF_MEMORY:
                raise
            # An engine may do what no graph can hold, wait for the GPU for one; it runs as ever afterwards, says
            # TensorRT's developer guide, CUDA Graphs. What is broken fails again, and that is the error to tell.
            self.refused = one_line(error)
            # CUDA's runtime, which TensorRT stands on, may tell the capture's error to whoever asks it next:
            # cudaGetLastError, which trtexec calls here, is not the driver's.
            with suppress(EngineError):
                self._try()
            self._try()

    def launch(self) -> None:
        """Do it once more, after what the stream was given before."""
        if self._graph is None:
            self._work(self._stream)
        else:
            self._graph.launch(self._stream)

    def close(self) -> None:
        """Free the graph; wait for its work before."""
        if self._graph is not None:
            self._graph.close()

    def _try(self) -> None:
        self._work(self._stream)
        self._stream.synchronize()
