"""Resources that the parts of a pipeline on a GPU share: engines, streams and activation memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.memory import DeviceBuffer
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.tensorrt.context import Shape, TrtContext
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.pipeline.captured_graph import CapturedGraph
from nanoseg.backends.tensorrt.pipeline.memory_plan import ACTIVATION_GROUPS
from nanoseg.backends.tensorrt.pipeline.settings import GRAPHS
from nanoseg.errors import EngineError


class Resources:
    """Engines, and four streams: one uploads frames, one preprocesses and detects, one embeds, one decodes masks.

    Work in one stream never runs at once, so all contexts of a stream share one block of activation memory, but for
    those of prepare for frames that want a larger one.
    """

    def __init__(self, gpu: Gpu, engines: Mapping[str, TrtEngine], graphs: bool) -> None:
        self.gpu, self.engines, self._graphs = gpu, engines, graphs
        self.not_captured: dict[str, str] = {}  # names of the graphs that CUDA could not capture, with the reasons
        # What the host waits for goes first: detections, and masks; the encoder of the next frame has time.
        self.copy, self.detect, self.embed, self.masks = (gpu.stream(high) for high in (False, True, False, True))
        self._activations: dict[str, DeviceBuffer | None] = {}
        for group in ACTIVATION_GROUPS:
            names = [name for name in group if name in engines]
            nbytes = max(engines[name].memory_bytes for name in names if name != "prepare")
            self._activations.update(dict.fromkeys(names, gpu.device_buffer(nbytes) if nbytes else None))

    def context(self, name: str) -> TrtContext:
        """Return a new context of an engine, to run in the engine's stream."""
        return self.engines[name].context(self._activations[name])

    def prepare_context(self, frame_shape: Shape) -> TrtContext:
        """Return a new context of prepare's engine for frames of one size, to run in the stream of the detector.

        The engine takes large frames, whose activations would be memory that other cameras never need.
        """

        def allocate(nbytes: int) -> DeviceBuffer | None:
            block = self._activations["prepare"]
            if nbytes and (block is None or block.nbytes < nbytes):
                block = self._activations["prepare"] = self.gpu.device_buffer(nbytes)
            return block

        return self.engines["prepare"].sized_context({"frame": frame_shape}, allocate)

    def captured(self, name: str, stream: Stream, work: Callable[[Stream], None], context: TrtContext) -> CapturedGraph:
        """Capture work that runs `context` among other things; `not_captured` lists it by `name` if that fails."""
        refusal = (lambda: context.capture_refusal(stream)) if self._graphs else (lambda: f"{GRAPHS} is off")
        graph = CapturedGraph(self.gpu, stream, work, refusal)
        if graph.refusal:
            self.not_captured[name] = graph.refusal
        return graph

    def cleared(self, nbytes: int) -> DeviceBuffer:
        """Allocate a block on the GPU that holds zeros.

        Warm-up runs read what no other run has written yet. Of random bytes a NaN may be a score, and an index that is
        sorted by it any number.
        """
        block = self.gpu.device_buffer(nbytes)
        self.gpu.clear(block, self.copy)
        self.copy.synchronize()
        return block

    @contextmanager
    def settled(self, *streams: Stream) -> Iterator[None]:
        """Wait for these streams if anything fails inside, so that nothing is in flight on the next frame's buffers."""
        try:
            yield
        except BaseException:
            for stream in streams:
                with suppress(EngineError):  # the first error is the one to report
                    stream.synchronize()
            raise
