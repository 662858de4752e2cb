"""The pipeline on a GPU: TensorRT's engines over pinned memory, four streams and captured graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.pipeline import DECODERS, EmbeddingHandle, MaskOutput, RawDetections, masks_a_prompt
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.pipeline.decoder import Answer, Decoder
from nanoseg.backends.tensorrt.pipeline.embedding import TrtEmbedding
from nanoseg.backends.tensorrt.pipeline.frame_buffers import reads_mapped_faster
from nanoseg.backends.tensorrt.pipeline.frame_sizes import frame_hw
from nanoseg.backends.tensorrt.pipeline.frame_slot import FrameSlot
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import EngineError
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.prompts import Prompts

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle
    from nanoseg.processing.preprocess import Preparer

_GEOMETRIES = 64  # frame sizes
_ALONE = 0  # the slot of frames that are not started ahead of anything; the others are 1 and 2


class _Started(NamedTuple):
    """A frame in a slot, while that holds it."""

    turn: int  # the slot
    geometry: Geometry
    embedding: TrtEmbedding


class TrtPipeline:
    """A frame is handed over, and the host waits for its rows and for its masks: for nothing else.

    detect and embed run side by side. The rows come to the host while the encoder still runs; it clips and counts them,
    and the decoder of the right size stands ready when the encoder is done. What it is asked goes back, 2 kB with all
    there is to it: to clip boxes on the GPU and to fetch their count would not be sooner. The embedding stays there.
    """

    backend = "tensorrt"
    ahead = True
    device_frames = True

    def __init__(self, bundle: Bundle, gpu: Gpu, engines: Mapping[str, TrtEngine], device: str = "") -> None:
        """`engines` are those of all graphs of the bundle; they and the GPU are closed with the pipeline.

        What the first frame wants is made ready here. Raises EngineError for engines that do not fit each other.
        """
        self.device = device or gpu.name
        self.masks_a_prompt: Mapping[str, int] = masks_a_prompt(engines)
        resources = Resources(gpu, engines)
        self._resources: Resources | None = resources
        # Work that CUDA could once make no graph of, so that it is given to the GPU anew each time: its name, and why.
        self.not_captured: Mapping[str, str] = resources.not_captured
        sizes_px = bundle.detector_px, bundle.rescale_px, bundle.encoder_px
        self._geometry = lru_cache(_GEOMETRIES)(lambda hw: Geometry.of(hw, *sizes_px))
        self._preparer = cache(lambda: _preparer(sizes_px))  # frames are started one after the other: one does for all
        with resources.settled(resources.copy, resources.detect, resources.embed, resources.masks):
            self.mapped = reads_mapped_faster(resources)  # whether frames are read in pinned memory, or copied
            # One for frames that come alone, and two that take turns where the next is started ahead of the end.
            self._slots = {_ALONE: FrameSlot(resources, self.mapped, self._preparer)}
            self._turn = 2
            lies = self._slots[_ALONE].embedding
            self._embedding = resources.cleared(lies.nbytes).view(lies.shape, lies.dtype)  # what the decoders read
            self._decoders = {name: Decoder(resources, name, self._embedding) for name in DECODERS if name in engines}
            self._answers: dict[tuple[str, bool], Answer] = {}
            self._holds: object = None  # the key of the embedding that the decoders read
            self._pinned = gpu.host_buffer(lies.shape, lies.dtype)  # an embedding on its way from the host or to it
            self._done = gpu.event()
            self._lock = threading.Lock()  # of all that has to do with the decoders and their stream

    def start(self, pixels: Any, confidence: float, iou: float, ahead: bool = False) -> _Started:
        if ahead:
            self._turn = 3 - self._turn
        return self._start(self._turn if ahead else _ALONE, pixels, (confidence, iou))

    def rows(self, started: Any) -> RawDetections:
        resources: Resources = self._open()
        resources.gpu.make_current()
        started.embedding.check()
        with resources.settled(resources.detect):
            return self._slots[started.turn].rows()

    def embedded(self, started: Any) -> TrtEmbedding:
        embedding: TrtEmbedding = started.embedding
        return embedding

    def embed(self, pixels: Any) -> tuple[TrtEmbedding, Geometry]:
        started, resources = self._start(_ALONE, pixels, None), self._open()
        gpu, lies = resources.gpu, started.embedding.lies
        with resources.settled(resources.embed):
            kept, ready = gpu.device_buffer(lies.nbytes).view(lies.shape, lies.dtype), gpu.event()
            gpu.copy(kept, lies, resources.embed)
            ready.record(resources.embed)
            ready.synchronize()
        return TrtEmbedding(kept, ready, lambda: True, self._fetch), started.geometry

    def masks(
        self,
        name: str,
        embedded: EmbeddingHandle,
        geometry: Geometry,
        prompts: Prompts,
        *,
        own: bool = True,
        arrived: Callable[[], None] | None = None,
    ) -> MaskOutput:
        with self._lock:
            resources = self._open()
            resources.gpu.make_current()
            decoder, vector = self._decoders[name], geometry.vector()
            portions, found = decoder.portions(prompts), list[MaskOutput]()
            with resources.settled(resources.masks):
                self._bring(resources, embedded)
                for some in portions:
                    part = decoder.ask(some, vector, self._answer(name, own))
                    self._done.record(resources.masks)
                    if arrived and not found:
                        if isinstance(embedded, TrtEmbedding):
                            embedded.ready.synchronize()
                        arrived()
                    self._done.synchronize()
                    logits = part.logits.array
                    copied = own or len(portions) > 1
                    found.append(MaskOutput(logits.copy() if copied else logits, part.confidence.array.copy()))
        if len(found) == 1:
            return found[0]
        return MaskOutput(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def close(self) -> None:
        with self._lock, ExitStack() as stack:
            resources, self._resources = self._resources, None
            if resources is None:
                return
            for close in (resources.gpu.close, *(engine.close for engine in resources.engines.values())):
                stack.callback(close)
            for slot in self._slots.values():
                stack.callback(slot.close)
            for decoder in self._decoders.values():
                stack.callback(decoder.close)
            stack.callback(resources.gpu.synchronize)
            resources.gpu.make_current()

    def _open(self) -> Resources:
        if self._resources is None:
            raise EngineError("the segmenter was closed; load the bundle again")
        return self._resources

    def _start(self, turn: int, pixels: Any, thresholds: tuple[float, float] | None) -> _Started:
        resources = self._open()
        resources.gpu.make_current()
        with resources.settled(resources.copy, resources.detect, resources.embed):
            if turn not in self._slots:
                self._slots[turn] = FrameSlot(resources, self.mapped, self._preparer)
            slot = self._slots[turn]
            number = slot.start(pixels, thresholds)
        embedding = TrtEmbedding(slot.embedding, slot.embedded, lambda: slot.number == number, self._fetch)
        return _Started(turn, self._geometry(frame_hw(pixels)), embedding)

    def _bring(self, resources: Resources, embedded: EmbeddingHandle) -> None:
        """Let the stream of masks put an embedding where the decoders read it."""
        if not isinstance(embedded, TrtEmbedding):
            self._holds, array = None, embedded.array()
            if array.shape != self._pinned.shape:
                raise EngineError(
                    f"embedding: wanted {self._pinned.shape}, as this bundle's encoder gives, got {array.shape}"
                )
            self._pinned.array[...] = array
            resources.gpu.copy(self._embedding, self._pinned, resources.masks)
            return
        embedded.check()
        if self._holds is not embedded.key:
            self._holds = None
            resources.masks.wait(embedded.ready)
            resources.gpu.copy(self._embedding, embedded.lies, resources.masks)
            self._holds = embedded.key

    def _answer(self, name: str, own: bool) -> Answer:
        """Pinned memory for answers; that of views is no other's."""
        key = name, own
        if key not in self._answers:
            self._answers[key] = self._decoders[name].answer()
        return self._answers[key]

    def _fetch(self, embedding: TrtEmbedding) -> np.ndarray:
        with self._lock:
            resources = self._open()
            resources.gpu.make_current()
            embedding.check()
            with resources.settled(resources.masks):
                resources.masks.wait(embedding.ready)
                resources.gpu.copy(self._pinned, embedding.lies, resources.masks)
                resources.masks.synchronize()
            return self._pinned.array.astype(np.float32)


def _preparer(sizes_px: tuple[int, int, int]) -> Preparer:
    """What the host prepares with, if it has to; raises DependencyError without OpenCV."""
    from nanoseg.processing.preprocess import Preparer

    return Preparer(*sizes_px)
