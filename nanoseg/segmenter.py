"""THE path of a frame: prepare, detect, embed, segment."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nanoseg.backends.pipeline import InFlight, Pipeline, RawDetections
from nanoseg.errors import BundleError, UsageError
from nanoseg.processing.boxes import Boxes, boxes_of
from nanoseg.processing.embedding import Embedding
from nanoseg.processing.geometry import Geometry, Resize, check_resize
from nanoseg.processing.image import Image, pixels_of
from nanoseg.processing.masks import Masks, best_masks, no_masks
from nanoseg.types import Detections, Prompts
from nanoseg.utils.timing import Stopwatch

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle


class _Begun(NamedTuple):
    """A frame on its way, and what it has taken so far."""

    started: InFlight
    watch: Stopwatch


class Segmenter:
    """A bundle's graphs chained; a context manager.

    A frame goes in by a call, and its objects come out; `stream` takes many frames, and more of them a second.
    Calls from several threads are safe: those that take a frame wait for each other, as they share its buffers;
    `segment` does not wait for them. What calls return is the caller's.
    """

    def __init__(
        self,
        bundle: Bundle,
        pipeline: Pipeline,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_objects: int | None = None,
    ) -> None:
        """`pipeline` runs the bundle's graphs, and is closed with the segmenter; for the rest see `nanoseg.load`."""
        check_settings(confidence, iou, max_objects)
        self.bundle, self.pipeline = bundle, pipeline
        self.confidence = float(bundle.confidence if confidence is None else confidence)
        self.iou = float(bundle.iou if iou is None else iou)
        self.max_objects = max_objects
        self.unconverged_frames = 0  # frames whose NMS the host had to finish
        self.latency_ms: dict[str, float] = {}  # of the last frame, by stage
        self._names = np.array(bundle.labels, dtype=np.str_)
        self._lock = threading.Lock()
        self._streaming = False

    @property
    def backend(self) -> str:
        """What runs it, one of nanoseg.backends.select.BACKENDS."""
        return self.pipeline.backend

    @property
    def device(self) -> str:
        """What it runs on, for people."""
        return self.pipeline.device

    def __call__(self, image: Image) -> Detections:
        """The objects of one (H, W, 3) uint8 BGR image or Frame, masks included.

        On backend tensorrt the image may lie on the GPU: anything with `__cuda_array_interface__`. Sets `latency_ms`:
        prepare, detect, embed, segment, total; embed and segment only where something was found. These are the times
        that the host waits: on a GPU prepare is the handing over of the frame, and embed what is left of the encoder,
        which runs beside the detector. Raises UsageError for an image of another kind, EngineError when a graph fails.
        """
        pixels = pixels_of(image, self.pipeline.device_frames)
        with self._lock:
            return self._end(self._begin(pixels))

    def stream(self, frames: Iterable[Image]) -> Iterator[Detections]:
        """The objects of many images, in their order: what a call gives for each, more of them a second.

        Where a GPU runs it, the next image is taken and handed over before the masks of the one before are waited for;
        so each comes out one image later. Logits of its masks are views, valid until the next item is asked for; all
        else is the caller's. `total` of its latency is from the handing over to the end. One stream at a time. An error
        ends it, after the items of all images before the one that it is about.
        """
        begun: _Begun | None = None  # what is under way
        mine, more, failed = False, True, None
        try:
            with self._lock:
                if self._streaming:
                    raise UsageError(
                        "stream: another one of this segmenter is under way; close it, or load the bundle twice"
                    )
                self._streaming = mine = True
            images = iter(frames)
            while more:
                try:
                    pixels = pixels_of(next(images), self.pipeline.device_frames)
                except StopIteration:
                    more = False
                except Exception as error:
                    more, failed = False, error
                with self._lock:
                    due, begun = begun, None
                    if more:
                        try:
                            begun = self._begin(pixels, ahead=self.pipeline.ahead)
                        except Exception as error:
                            more, failed = False, error
                    if not self.pipeline.ahead:
                        due, begun = begun, None
                    found = self._end(due, own=False) if due else None
                if found is not None:
                    yield found
            if failed is not None:
                raise failed
        finally:
            if mine:
                self._streaming = False
            failed = None  # it holds this frame, which would hold it

    def detect(self, image: Image) -> Boxes:
        """The boxes of one image alone, at most `max_objects`; raises as a call does."""
        pixels = pixels_of(image, self.pipeline.device_frames)
        with self._lock:
            started = self.pipeline.start(pixels, self.confidence, self.iou)
            return self._boxes(self.pipeline.rows(started), started.geometry)

    def embed(self, image: Image) -> Embedding:
        """One image embedded, for any number of prompts; raises as a call does."""
        pixels = pixels_of(image, self.pipeline.device_frames)
        with self._lock:
            return Embedding(*self.pipeline.embed(pixels))

    def segment(
        self,
        embedding: Embedding,
        *,
        boxes: Any = None,
        points: Any = None,
        labels: Any = None,
        mask_input: Any = None,
        prompts: Prompts | None = None,
        all_masks: bool = False,
    ) -> Masks:
        """Masks of N prompts on one embedding, as segment-anything's predictor gives them, in pixels of the frame.

        A prompt is a box, points with labels (1 foreground, 0 background), a mask, or any of these together; None
        stands where one has none of a kind. `mask_input` are the logits of an earlier answer, to be refined. See
        `Prompts.of` for shapes; `prompts` are such, made before. Unlike a detection's, a mask may reach beyond its box.

        One mask a prompt, that of the highest predicted IoU of four; with `all_masks` all four, 4 N in all, prompt i's
        from 4i on: 4i is SAM's single mask, the next three are those of its multimask output. Raises UsageError for
        prompts that do not fit and for `all_masks` of a bundle that keeps only the best, BundleError for masks as
        prompts of a bundle that takes none, EngineError when a graph fails.
        """
        if not isinstance(embedding, Embedding):
            got = type(embedding).__name__
            raise UsageError(f"segment: wanted an Embedding, got {got}; call segmenter.embed(image) first")
        if prompts is None:
            prompts = Prompts.of(boxes, points, labels, mask_input)
        elif not isinstance(prompts, Prompts):
            got = type(prompts).__name__
            raise UsageError(f"segment: prompts wants Prompts, got {got}; give boxes=, or Prompts.of(boxes)")
        elif any(each is not None for each in (boxes, points, labels, mask_input)):
            raise UsageError("segment: wanted either prompts, or boxes, points with labels and mask_input")
        return self._masks(embedding, prompts, all_masks)

    def check(self, prompts: Prompts, *, all_masks: bool = False) -> None:
        """Raise what `segment` would for prompts that this bundle does not take: known before anything is embedded."""
        self._decoder(prompts, all_masks)

    def close(self) -> None:
        """Free the engines; a frame that another thread has under way is finished before."""
        with self._lock:
            self.pipeline.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, pixels: Any, ahead: bool = False) -> _Begun:
        watch = Stopwatch()
        started = self.pipeline.start(pixels, self.confidence, self.iou, ahead)
        watch.lap("prepare")
        return _Begun(started, watch)

    def _end(self, begun: _Begun, own: bool = True) -> Detections:
        (started, watch), geometry = begun, begun.started.geometry
        watch.resume()
        boxes = self._boxes(self.pipeline.rows(started), geometry)
        watch.lap("detect")
        if len(boxes.xyxy):
            embedded = self.pipeline.embedded(started)
            prompts = Prompts.from_boxes(boxes.xyxy)
            logits, confidence = self.pipeline.masks(
                "segment", embedded, geometry, prompts, own=own, arrived=lambda: watch.lap("embed")
            )
            # What lies beyond a found box is another object's.
            masks = best_masks(logits, confidence, geometry, boxes.xyxy)
            watch.lap("segment")
        else:
            masks = no_masks(geometry)
        self.latency_ms = watch.stop()
        return Detections(
            xyxy=boxes.xyxy,
            confidence=boxes.confidence,
            class_id=boxes.class_id,
            class_name=self._class_names(boxes.class_id),
            mask_confidence=masks.confidence,
            masks=masks,
            latency_ms=self.latency_ms,
        )

    def _boxes(self, rows: RawDetections, geometry: Geometry) -> Boxes:
        self.unconverged_frames += rows.unconverged != 0
        return boxes_of(rows, geometry, self.confidence, self.iou, self.max_objects)

    def _masks(self, embedding: Embedding, prompts: Prompts, all_masks: bool) -> Masks:
        name, geometry = self._decoder(prompts, all_masks), embedding.geometry
        if not len(prompts):
            return no_masks(geometry)
        logits, confidence = self.pipeline.masks(name, embedding.held, geometry, prompts)
        if not all_masks:
            return best_masks(logits, confidence, geometry)
        owner = np.repeat(np.arange(len(confidence)), confidence.shape[1])
        return Masks(logits.reshape(-1, *logits.shape[2:]), confidence.ravel(), geometry, None, owner)

    def _decoder(self, prompts: Prompts, all_masks: bool) -> str:
        name, there = "segment", self.pipeline.masks_a_prompt
        if prompts.mask_input is not None:
            name = "segment_mask"
            if name not in there:
                raise BundleError(
                    f"{self.bundle.path}: has no segment_mask.onnx, which masks as prompts need; "
                    "make a bundle that has it with nanoseg bundle make --mask-prompts, or --mask-decoder FILE"
                )
            got, side = prompts.mask_input.shape[-1], self.bundle.encoder_px // 4
            if got != side:
                raise UsageError(f"mask_input: wanted logits of {side} a side, as this bundle's answers are, got {got}")
        if all_masks and there[name] == 1:
            raise UsageError(
                f"all_masks: {self.bundle.path} gives one mask a prompt; all four want a bundle made with "
                "nanoseg bundle make --masks all, of a decoder that gives four"
            )
        return name

    def _class_names(self, class_id: np.ndarray) -> np.ndarray:
        if len(class_id) and not 0 <= class_id.min() <= class_id.max() < len(self._names):
            raise BundleError(
                f"{self.bundle.path}: the detector found class {class_id.max()}, but has {len(self._names)} labels"
            )
        return np.asarray(self._names[class_id])


def open_segmenter(
    bundle: str | Path,
    backend: str = "auto",
    *,
    confidence: float | None = None,
    iou: float | None = None,
    max_objects: int | None = None,
    resize: Resize = "cv2",
    engines: str | Path | None = None,
) -> Segmenter:
    """What `nanoseg.load` does; see there."""
    from nanoseg.backends.select import check_backend, open_pipeline
    from nanoseg.bundle import open_bundle

    # Files are read and networks loaded after whatever can be refused without them.
    check_backend(backend)
    check_settings(confidence, iou, max_objects)
    check_resize(resize)
    opened = open_bundle(bundle)
    pipeline = open_pipeline(opened, backend, resize=resize, engines=None if engines is None else Path(engines))
    return Segmenter(opened, pipeline, confidence=confidence, iou=iou, max_objects=max_objects)


def check_settings(confidence: float | None, iou: float | None, max_objects: int | None) -> None:
    """Raise UsageError for a threshold outside [0, 1], and for a `max_objects` below 1."""
    for name, value in (("confidence", confidence), ("iou", iou)):
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}: wanted a number from 0 to 1, got {value}")
    if max_objects is not None and max_objects < 1:
        raise UsageError(f"max_objects: wanted 1 or more, got {max_objects}")
