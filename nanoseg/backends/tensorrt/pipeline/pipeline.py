"""The pipeline on a GPU: TensorRT's engines over pinned memory, four streams and captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.pipeline import DECODERS, MaskOutput, masks_per_prompt
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.pipeline.box_decoder import BoxDecoder
from nanoseg.backends.tensorrt.pipeline.decoder import Decoder
from nanoseg.backends.tensorrt.pipeline.embedding import TrtEmbedding
from nanoseg.backends.tensorrt.pipeline.frame_buffers import reads_mapped_faster
from nanoseg.backends.tensorrt.pipeline.frame_slot import FrameSlot
from nanoseg.backends.tensorrt.pipeline.mask_buffer import MaskBuffer
from nanoseg.backends.tensorrt.pipeline.memory_plan import ROUNDS
from nanoseg.backends.tensorrt.pipeline.resources import Resources
from nanoseg.errors import EngineError
from nanoseg.processing.embedding import EmbeddingHandle, on_host
from nanoseg.processing.geometry import Geometry, Padding
from nanoseg.processing.image import Pixels, frame_hw
from nanoseg.processing.nms import RawDetections
from nanoseg.processing.prompts import Prompts
from nanoseg.processing.tiles import Tiles
from nanoseg.utils.one_process import ProcessLock

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle
    from nanoseg.processing.preprocess import Preprocessor

_MAX_GEOMETRIES = 64  # frame sizes whose geometry is kept
_SINGLE = 0  # slot of frames that are not started ahead of another's end; those of a stream take turns in 1 and 2


class TrtInFlight(NamedTuple):
    """A frame in a slot, until the slot takes the next."""

    slot: int
    geometry: Geometry
    confidence: float
    iou: float
    embedding: TrtEmbedding


class TrtPipeline:
    """Engines on a GPU; the host waits for a frame's raw detections and for its masks, and for nothing else.

    detect and embed run side by side. The detections come to the host while the encoder still runs; it clips and counts
    them, and the decoder of the right batch size is chosen before the encoder is done. Its prompts are uploaded, 2 kB:
    to clip boxes on the GPU and to download their count would not be sooner. The embedding stays on the GPU.
    """

    backend = "tensorrt"
    ahead = True
    device_frames = True

    def __init__(
        self, bundle: Bundle, gpu: Gpu, engines: Mapping[str, TrtEngine], device: str = "", graphs: bool = True
    ) -> None:
        """Allocate the first frame slot and the decoders, and capture their graphs.

        Args:
            bundle: The bundle, for the sizes of its networks' inputs.
            gpu: The GPU that the engines are loaded on; closed with the pipeline.
            engines: Engines of all graphs of the bundle; closed with the pipeline.
            device: Description of the device for people, by default the GPU's name.
            graphs: Whether work is captured as CUDA graphs, where that is possible.

        Raises:
            EngineError: For engines that do not fit each other.
        """
        self.device = device or gpu.name
        self.masks_per_prompt: Mapping[str, int] = masks_per_prompt(engines)
        resources = Resources(gpu, engines, graphs)
        self._resources: Resources | None = resources
        # Names of the work that CUDA could not capture once, so that it is enqueued anew each time, with the reasons.
        self.not_captured: Mapping[str, str] = resources.not_captured
        sizes_px = bundle.detector_px, bundle.rescale_px, bundle.encoder_px
        padding = bundle.padding
        self._geometry = lru_cache(_MAX_GEOMETRIES)(lambda hw: Geometry.of(hw, *sizes_px, padding=padding))
        # Frames are started one after the other: one preprocessor of the host does for all slots.
        self._preprocessor = cache(lambda: _preprocessor(sizes_px, padding))
        with resources.settled(resources.copy, resources.detect, resources.embed, resources.masks):
            self.mapped = reads_mapped_faster(resources)  # whether frames are read in pinned memory, not copied
            self._slots = {_SINGLE: FrameSlot(resources, self.mapped, self._preprocessor)}
            self._last_slot = 2
            memory = self._slots[_SINGLE].embedding
            # The decoders' input: the graphs of their buckets read one address.
            self._embedding = resources.cleared(memory.nbytes).view(memory.shape, memory.dtype)
            self._decoders = {name: Decoder(resources, name, self._embedding) for name in DECODERS if name in engines}
            self._box_decoder = BoxDecoder(resources, self._embedding) if "segment_boxes" in engines else None
            self._outputs: dict[tuple[str, bool], MaskBuffer] = {}
            self._loaded_key: object = None  # key of the embedding that self._embedding holds
            self._pinned = gpu.host_buffer(memory.shape, memory.dtype)  # an embedding on its way from the host or to it
            self._lock = ProcessLock()  # of the decoders, their stream and self._embedding

    def start(self, pixels: Pixels, confidence: float, iou: float, ahead: bool = False) -> TrtInFlight:
        if ahead:
            self._last_slot = 3 - self._last_slot
        slot = self._last_slot if ahead else _SINGLE
        return TrtInFlight(
            slot, self._geometry(frame_hw(pixels)), confidence, iou, self._upload(slot, pixels, (confidence, iou))
        )

    def detections(self, frame: TrtInFlight) -> RawDetections:
        resources = self._open()
        resources.gpu.make_current()
        frame.embedding.check()
        with resources.settled(resources.detect):
            return self._slots[frame.slot].detections()

    def embedding(self, frame: TrtInFlight) -> TrtEmbedding:
        return frame.embedding

    def embed(self, pixels: Pixels) -> tuple[TrtEmbedding, Geometry]:
        embedding, resources = self._upload(_SINGLE, pixels, None), self._open()
        gpu, memory = resources.gpu, embedding.memory
        with resources.settled(resources.embed):
            kept, ready = gpu.device_buffer(memory.nbytes).view(memory.shape, memory.dtype), gpu.event()
            gpu.copy(kept, memory, resources.embed)
            ready.record(resources.embed)
            ready.synchronize()
        return TrtEmbedding(kept, ready, lambda: True, self._download), self._geometry(frame_hw(pixels))

    def masks(
        self,
        name: str,
        embedding: np.ndarray | EmbeddingHandle,
        geometry: Geometry,
        prompts: Prompts,
        *,
        own: bool = True,
        on_embedded: Callable[[], None] | None = None,
    ) -> MaskOutput:
        with self._lock:
            resources = self._open()
            resources.gpu.make_current()
            decoder, vector = self._decoders[name], geometry.vector()
            batches, started = decoder.split(prompts), _when_started(embedding, on_embedded)
            with resources.settled(resources.masks):
                self._load_embedding(resources, embedding)
                logits, confidence = decoder.decode(batches, vector, self._output(name, own), started)
            return logits.copy() if own and len(batches) <= ROUNDS else logits, confidence

    def box_masks(
        self,
        embedding: np.ndarray | EmbeddingHandle,
        geometry: Geometry,
        boxes: np.ndarray,
        *,
        own: bool = True,
        on_embedded: Callable[[], None] | None = None,
    ) -> MaskOutput:
        decoder = self._box_decoder
        tiles = None if decoder is None else Tiles.of(boxes, geometry)
        if decoder is None or tiles is None or not decoder.takes(tiles):
            prompts = Prompts.from_detections(boxes)
            return self.masks("segment", embedding, geometry, prompts, own=own, on_embedded=on_embedded)
        with self._lock:
            resources = self._open()
            resources.gpu.make_current()
            with resources.settled(resources.masks):
                self._load_embedding(resources, embedding)
                return decoder.decode(boxes, tiles, geometry, own, _when_started(embedding, on_embedded))

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
            if self._box_decoder is not None:
                stack.callback(self._box_decoder.close)
            for output in self._outputs.values():
                stack.callback(output.close)
            stack.callback(resources.gpu.synchronize)
            resources.gpu.make_current()

    def _open(self) -> Resources:
        if self._resources is None:
            raise EngineError("the segmenter was closed; load the bundle again")
        return self._resources

    def _upload(self, index: int, pixels: Pixels, thresholds: tuple[float, float] | None) -> TrtEmbedding:
        """Start a frame in a slot, and return the embedding that it will have."""
        resources = self._open()
        resources.gpu.make_current()
        with resources.settled(resources.copy, resources.detect, resources.embed):
            if index not in self._slots:
                self._slots[index] = FrameSlot(resources, self.mapped, self._preprocessor)
            slot = self._slots[index]
            number = slot.start(pixels, thresholds)
        return TrtEmbedding(slot.embedding, slot.embedded, lambda: slot.number == number, self._download)

    def _load_embedding(self, resources: Resources, embedding: np.ndarray | EmbeddingHandle) -> None:
        """Enqueue the copy of an embedding to the decoders' input, unless it is there."""
        if not isinstance(embedding, TrtEmbedding):
            self._loaded_key, array = None, on_host(embedding)
            if array.shape != self._pinned.shape:
                raise EngineError(
                    f"embedding: wanted {self._pinned.shape}, as this bundle's encoder gives, got {array.shape}"
                )
            self._pinned.array[...] = array
            resources.gpu.copy(self._embedding, self._pinned, resources.masks)
            return
        embedding.check()
        if self._loaded_key is not embedding.key:
            self._loaded_key = None
            resources.masks.wait(embedding.ready)
            resources.gpu.copy(self._embedding, embedding.memory, resources.masks)
            self._loaded_key = embedding.key

    def _output(self, name: str, own: bool) -> MaskBuffer:
        """Return pinned memory for a decoder's output; that of views is used for nothing else."""
        key = name, own
        if key not in self._outputs:
            self._outputs[key] = self._decoders[name].allocate_output()
        return self._outputs[key]

    def _download(self, embedding: TrtEmbedding) -> np.ndarray:
        with self._lock:
            resources = self._open()
            resources.gpu.make_current()
            embedding.check()
            with resources.settled(resources.masks):
                resources.masks.wait(embedding.ready)
                resources.gpu.copy(self._pinned, embedding.memory, resources.masks)
                resources.masks.synchronize()
            return self._pinned.array.astype(np.float32)


def _when_started(
    embedding: np.ndarray | EmbeddingHandle, on_embedded: Callable[[], None] | None
) -> Callable[[], None]:
    """Return what is to be called once the decoder has work: it waits for the embedding, and says so."""

    def started() -> None:
        if on_embedded is not None:
            if isinstance(embedding, TrtEmbedding):
                embedding.ready.synchronize()
            on_embedded()

    return started


def _preprocessor(sizes_px: tuple[int, int, int], padding: Padding) -> Preprocessor:
    """Return a preprocessor of the host; raises DependencyError without OpenCV, which is loaded only here."""
    from nanoseg.processing.preprocess import Preprocessor

    return Preprocessor(*sizes_px, padding=padding)
