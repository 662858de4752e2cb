"""Work that is done over and over on the same addresses."""

from __future__ import annotations

from collections.abc import Callable

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.stream import Graph, Stream


class Captured:
    """Captured as a graph where the GPU has them, else given to the stream anew each time."""

    def __init__(self, gpu: Gpu, stream: Stream, work: Callable[[Stream], None]) -> None:
        """`work` gives it to a stream. It is done twice here, so what it writes to must be free; this waits for it."""
        self._stream, self._work = stream, work
        self._graph: Graph | None = None
        # TensorRT makes room for new shapes in the first run, which no graph can hold.
        work(stream)
        stream.synchronize()
        if gpu.graphs:
            with stream.capture() as captured:
                work(stream)
            self._graph = captured.graph

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
