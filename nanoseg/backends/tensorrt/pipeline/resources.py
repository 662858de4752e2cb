"""What the parts of a pipeline on a GPU share: its engines, its streams, and the memory that engines compute in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.cuda.memory import DeviceBuffer
from nanoseg.backends.cuda.stream import Stream
from nanoseg.backends.pipeline import DECODERS
from nanoseg.backends.tensorrt.context import TrtContext
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.pipeline.captured_graph import Captured
from nanoseg.errors import EngineError


class Resources:
    """Four streams: frames are copied in one, prepared and looked for objects in one, embedded in one, cut out in one.

    What runs in the same stream never runs at once, so all contexts of a stream compute in the same memory.
    """

    def __init__(self, gpu: Gpu, engines: Mapping[str, TrtEngine]) -> None:
        self.gpu, self.engines = gpu, engines
        self.not_captured: dict[str, str] = {}  # graphs that CUDA could not make, by name, and why
        self.copy, self.detect, self.embed, self.masks = (gpu.stream() for _ in range(4))
        self._memory: dict[str, DeviceBuffer | None] = {}
        for names in (("prepare", "detect"), ("embed",), DECODERS):
            there = [name for name in names if name in engines]
            most = max(engines[name].memory_bytes for name in there)
            self._memory.update(dict.fromkeys(there, gpu.device_buffer(most) if most else None))

    def context(self, name: str) -> TrtContext:
        """A new context of an engine, to run in its stream."""
        return self.engines[name].context(self._memory[name])

    def captured(self, name: str, stream: Stream, work: Callable[[Stream], None], context: TrtContext) -> Captured:
        """Work on its addresses, that of `context` in it, to be done over and over; `not_captured` calls it `name`."""
        captured = Captured(self.gpu, stream, work, lambda: context.capture_refusal(stream))
        if captured.refused:
            self.not_captured[name] = captured.refused
        return captured

    def cleared(self, nbytes: int) -> DeviceBuffer:
        """A new block of the GPU's memory that holds zeros.

        Runs that warm up read what no other run has written yet. Of what happens to lie there a NaN may be a score, and
        an index that is sorted by it any number.
        """
        block = self.gpu.device_buffer(nbytes)
        self.gpu.clear(block, self.copy)
        self.copy.synchronize()
        return block

    @contextmanager
    def settled(self, *streams: Stream) -> Iterator[None]:
        """Whatever goes wrong inside leaves nothing under way in these, so that buffers are free for the next frame."""
        try:
            yield
        except BaseException:
            for stream in streams:
                with suppress(EngineError):  # what went wrong first is the news
                    stream.synchronize()
            raise
