"""The path of a frame: preprocess, detect, embed, segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nanoseg.backends.object_masks import object_masks
from nanoseg.backends.pipeline import AnyPipeline
from nanoseg.backends.prompt_batches import choose_decoder
from nanoseg.errors import UsageError
from nanoseg.processing.boxes import Boxes
from nanoseg.processing.classes import Classes, class_ids, class_names
from nanoseg.processing.embedding import Embedding, check_embedding
from nanoseg.processing.image import Image, Pixels, to_pixels
from nanoseg.processing.masks import Masks
from nanoseg.processing.nms import Limits, NmsKind, check_nms, check_thresholds, complete_boxes
from nanoseg.processing.prompts import choose_prompts
from nanoseg.types import Detections, Prompts
from nanoseg.utils.one_process import NotPicklable, ProcessLock
from nanoseg.utils.timing import Stopwatch

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

ImageT = TypeVar("ImageT", bound=Image)


class Segmenter(NotPicklable):
    """A bundle on a backend: detects and segments the objects of frames, and segments prompts. A context manager.

    Calls from several threads are safe: those that take a frame wait for each other, as they share its buffers;
    `segment` does not wait for them. Results are owned by the caller.
    """

    def __init__(
        self,
        bundle: Bundle,
        pipeline: AnyPipeline,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        nms: NmsKind | None = None,
        max_objects: int | None = None,
        classes: Classes | None = None,
    ) -> None:
        """Run a bundle on its pipeline, which is closed with the segmenter; `nanoseg.load` has the same options."""
        check_thresholds(confidence, iou, max_objects)
        self.class_ids = class_ids(classes, bundle.labels)  # of what is returned; None: all
        self.seen_confidence: float | None = None  # the boxes of calls and streams down to here are Detections.seen
        self.bundle, self.pipeline, self.max_objects = bundle, pipeline, max_objects
        self.confidence = float(bundle.confidence if confidence is None else confidence)
        self.iou = float(bundle.iou if iou is None else iou)
        self.nms: NmsKind = bundle.nms if nms is None else check_nms(nms)
        self.unconverged_frames = 0  # frames whose NMS the host had to finish
        self.latency_ms: dict[str, float] = {}  # of the last frame, by stage
        self._names = np.array(bundle.labels, dtype=np.str_)
        self._lock, self._streaming = ProcessLock(), False

    def __repr__(self) -> str:
        return f"Segmenter({self.bundle.name} on {self.backend}, {self.device})"

    @property
    def backend(self) -> str:
        """Name of the backend, one of nanoseg.backends.select.BACKENDS."""
        return self.pipeline.backend

    @property
    def device(self) -> str:
        """Description of the device for messages: `CPU, 4 threads`."""
        return self.pipeline.device

    def __call__(
        self,
        image: Image,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_objects: int | None = None,
        classes: Classes | None = None,
    ) -> Detections:
        """Return the objects of one image with their masks, most confident first.

        Sets `latency_ms` of the stages prepare, detect, embed, segment and total, the times that the host waits; embed
        and segment only where something was found. On a GPU prepare is the frame's upload, embed the encoder's rest.

        Args:
            image: A Frame, or (H, W, 3) uint8 BGR pixels. On backend tensorrt they may lie on the GPU: any object with
                `__cuda_array_interface__`.
            confidence: Confidence threshold in [0, 1] of this call; None for the segmenter's.
            iou: IoU threshold in [0, 1] of this call's NMS; None for the segmenter's.
            max_objects: Maximum number of objects, the most confident ones; None for the segmenter's limit.
            classes: Names or ids of the classes to return; the others are not segmented. None for the segmenter's.

        Raises:
            UsageError: For another kind of image, for a threshold out of range, and for an unknown class.
            EngineError: If a graph fails.
        """
        limits = self._limits(confidence, iou, max_objects, classes)
        pixels = to_pixels(image, self.pipeline.device_frames)
        with self._lock:
            watch = Stopwatch()
            frame = self._start(pixels, limits.least(self.seen_confidence), iou)
            watch.lap("prepare")
            return self._finish(frame, limits, watch)

    def stream(
        self,
        frames: Iterable[ImageT],
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_objects: int | None = None,
        classes: Classes | None = None,
    ) -> Iterator[tuple[ImageT, Detections]]:
        """Yield each image with its objects, in order: the results of calls, at a higher frame rate on a GPU.

        On a GPU the next image is read and uploaded before the host waits for the masks of the current one, so each
        pair is yielded one image later. The logits of its masks are views, valid until the next iteration. `total` of
        the latency is the time from the upload to the masks. A segmenter can have one open stream at a time.

        Args:
            frames: Images as a call takes them.
            confidence: As a call takes it.
            iou: As a call takes it.
            max_objects: As a call takes it.
            classes: As a call takes it.

        Yields:
            The item of `frames` itself, and its detections.

        Raises:
            UsageError: As a call does, and if another stream of this segmenter is open.
            EngineError: If a graph fails. Any error, also one raised by `frames`, is raised after the pairs of all
                earlier images, and ends the stream.
        """
        return self._stream(frames, iou, self._limits(confidence, iou, max_objects, classes))

    def detect(
        self,
        image: Image,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_objects: int | None = None,
        classes: Classes | None = None,
    ) -> Boxes:
        """Return the boxes of one image without masks; arguments, order and errors are those of a call."""
        limits = self._limits(confidence, iou, max_objects, classes)
        pixels = to_pixels(image, self.pipeline.device_frames)
        with self._lock:
            return limits.select(self._boxes(self._start(pixels, limits.confidence, iou))[0])

    def embed(self, image: Image) -> Embedding:
        """Return the embedding of one image, for any number of prompts; `image` and errors are those of a call."""
        pixels = to_pixels(image, self.pipeline.device_frames)
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
        """Return the masks of N prompts on one embedding: N, or 4 N with `all_masks`.

        A prompt is a box, points with labels, a mask, or any combination of these; an entry is None where a prompt has
        none of that kind. Unlike the mask of a detection, the mask of a box prompt may extend beyond its box.

        Args:
            embedding: The result of `embed`.
            boxes: (N, 4) xyxy in pixels of the frame, or (4,) for one.
            points: N times (P, 2) x, y in pixels of the frame.
            labels: N times (P,): 1 foreground, 0 background.
            mask_input: N times (4g, 4g) logits of an earlier result, to refine.
            prompts: Prompts made by `Prompts.of`, instead of all of the above.
            all_masks: Return the decoder's four masks of each prompt instead of the one with the highest predicted IoU:
                those of prompt i begin at index 4 i with SAM's single mask, followed by its three multimask outputs.

        Raises:
            UsageError: For invalid prompts, and for `all_masks` of a decoder that returns one mask a prompt.
            BundleError: For `mask_input` with a bundle that has no decoder for masks as prompts.
            EngineError: If a graph fails.
        """
        self._lock.check()
        check_embedding(embedding)
        prompts = choose_prompts(prompts, boxes, points, labels, mask_input, embedding.geometry.resize != "nanosam")
        decoder = choose_decoder(self.bundle, self.pipeline.masks_per_prompt, prompts, all_masks)
        if not len(prompts):
            return Masks.none(embedding.geometry)
        logits, confidence = self.pipeline.masks(decoder, embedding.handle, embedding.geometry, prompts)
        return Masks.from_output(logits, confidence, embedding.geometry, every=all_masks)

    def check(self, prompts: Prompts, *, all_masks: bool = False) -> None:
        """Raise the error of `segment` for prompts that this bundle does not take, before an image is embedded."""
        choose_decoder(self.bundle, self.pipeline.masks_per_prompt, prompts, all_masks)

    def close(self) -> None:
        """Free the engines; waits for a frame that another thread has in flight. May be called twice."""
        with self._lock:
            self.pipeline.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stream(
        self, frames: Iterable[ImageT], iou: float | None, limits: Limits
    ) -> Iterator[tuple[ImageT, Detections]]:
        pending: tuple[ImageT, Any, Stopwatch] | None = None  # the frame in flight
        claimed, more, failure = False, True, None
        try:
            with self._lock:
                if self._streaming:
                    raise UsageError(
                        "stream: another one of this segmenter is under way; close it, or load the bundle twice"
                    )
                self._streaming = claimed = True
            items = iter(frames)
            while more:
                try:
                    item = next(items)
                    pixels = to_pixels(item, self.pipeline.device_frames)
                except StopIteration:
                    more = False
                except Exception as error:
                    more, failure = False, error
                with self._lock:
                    due, pending = pending, None
                    if more:
                        try:
                            watch = Stopwatch()
                            frame = self._start(pixels, limits.least(self.seen_confidence), iou, self.pipeline.ahead)
                            watch.lap("prepare")
                            pending = item, frame, watch
                        except Exception as error:
                            more, failure = False, error
                    if not self.pipeline.ahead:
                        due, pending = pending, None
                    found = self._finish(due[1], limits, due[2], own=False) if due else None
                if due is not None and found is not None:
                    yield due[0], found
            if failure is not None:
                raise failure
        finally:
            if claimed:
                self._streaming = False
            failure = None  # it refers to this frame of the stack, which would refer to it

    def _start(self, pixels: Pixels, confidence: float, iou: float | None, ahead: bool = False) -> Any:
        return self.pipeline.start(pixels, confidence, self.iou if iou is None else iou, ahead)

    def _limits(
        self, confidence: float | None, iou: float | None, max_objects: int | None, classes: Classes | None
    ) -> Limits:
        check_thresholds(confidence, iou, max_objects)
        chosen = self.class_ids if classes is None else class_ids(classes, self.bundle.labels)
        confidence = self.confidence if confidence is None else confidence
        return Limits(confidence, self.max_objects if max_objects is None else max_objects, chosen)

    def _finish(self, frame: Any, limits: Limits, watch: Stopwatch, own: bool = True) -> Detections:
        watch.resume()
        seen, complete = self._boxes(frame)
        boxes = limits.select(seen)
        watch.lap("detect")
        masks, geometry = Masks.none(frame.geometry), frame.geometry
        if len(boxes.xyxy):
            embedding, embedded = self.pipeline.embedding(frame), lambda: watch.lap("embed")
            masks = object_masks(self.pipeline, embedding, geometry, boxes.xyxy, own=own, on_embedded=embedded)
            watch.lap("segment")
        self.latency_ms = watch.stop()
        return Detections(
            xyxy=boxes.xyxy,
            confidence=boxes.confidence,
            class_id=boxes.class_id,
            class_name=class_names(boxes.class_id, self._names, self.bundle.path),
            mask_confidence=masks.confidence,
            masks=masks,
            latency_ms=self.latency_ms,
            seen=None if self.seen_confidence is None else seen,
            seen_complete_from=complete,
            keypoints=boxes.keypoints,
            keypoint_set=self.bundle.keypoints,
        )

    def _boxes(self, frame: Any) -> tuple[Boxes, float]:
        raw, bundle = self.pipeline.detections(frame), self.bundle
        self.unconverged_frames += int(raw["unconverged"]) != 0
        limits = {"confidence": frame.confidence, "iou": frame.iou, "max_detections": bundle.max_detections}
        return complete_boxes(raw, frame.geometry, **limits, kind=bundle.nms, wanted=self.nms)
