"""THE path of a frame: prepare, detect, embed, segment."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nanoseg.backends.engine import Engine
from nanoseg.errors import BundleError, UsageError
from nanoseg.geometry import Geometry, Resize
from nanoseg.masks import Masks
from nanoseg.nms import finish
from nanoseg.prepare import Prepared, Preparer, resizer
from nanoseg.prompting import decode
from nanoseg.timing import Stopwatch
from nanoseg.types import Detections, Frame, Prompts

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle


class Boxes(NamedTuple):
    """What the detector found, most confident first, in pixels of the frame and inside it."""

    xyxy: np.ndarray  # (N, 4) float32
    confidence: np.ndarray  # (N,) float32
    class_id: np.ndarray  # (N,) int64


@dataclass(frozen=True, eq=False)
class Embedding:
    """One image as the decoder sees it; an array of its own, so it may be kept as long as it is of use."""

    array: np.ndarray  # (1, 256, g, g) float32
    geometry: Geometry


class Segmenter:
    """A bundle's graphs chained; a context manager.

    On a CPU detect and embed run one after the other, as each takes all threads; a frame in which nothing
    was found is not embedded. Calls from several threads are safe: those that prepare a frame wait for
    each other, as they share its buffers; `segment` does not wait. What calls return is the caller's.
    """

    def __init__(
        self,
        bundle: Bundle,
        engines: Mapping[str, Engine],
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_objects: int | None = None,
        resize: Resize = "cv2",
    ) -> None:
        """`engines` are the bundle's detect, embed and segment, and segment_mask where it has one.

        They are closed with the segmenter. For the rest see `nanoseg.load`.
        """
        check_settings(confidence, iou, max_objects)
        self.bundle = bundle
        self.confidence = float(bundle.confidence if confidence is None else confidence)
        self.iou = float(bundle.iou if iou is None else iou)
        self.max_objects = max_objects
        self.unconverged_frames = 0  # frames whose NMS the host had to finish
        self.latency_ms: dict[str, float] = {}  # of the last frame, by stage
        self._names = np.array(bundle.labels, dtype=np.str_)
        self._engines = engines
        self._detect, self._embed, self._segment = (engines[name] for name in ("detect", "embed", "segment"))
        self._preparer = Preparer(bundle.detector_px, bundle.rescale_px, bundle.encoder_px, resize)
        self._lock = threading.Lock()

    @property
    def device(self) -> str:
        """What it runs on, for people."""
        return self._detect.device

    def __call__(self, image: np.ndarray | Frame) -> Detections:
        """The objects of one (H, W, 3) uint8 BGR image or Frame, masks included.

        Sets `latency_ms`: prepare, detect, embed, segment, total; the last two stages only where something
        was found. Raises UsageError for an image of another kind, EngineError when a graph fails.
        """
        pixels = _pixels(image)
        with self._lock:
            watch = Stopwatch()
            with watch.stage("prepare"):
                prepared = self._preparer(pixels)
            with watch.stage("detect"):
                boxes = self.detect(prepared)
            embedding = None
            if len(boxes.xyxy):
                with watch.stage("embed"):
                    embedding = self._embedding(prepared)
        if embedding is None:
            masks = _no_masks(prepared.geometry)
        else:
            with watch.stage("segment"):
                # What lies beyond a found box is another object's.
                masks = self._masks(embedding, Prompts.from_boxes(boxes.xyxy), boxes=boxes.xyxy)
        found = Detections(
            xyxy=boxes.xyxy,
            confidence=boxes.confidence,
            class_id=boxes.class_id,
            class_name=self._class_names(boxes.class_id),
            mask_confidence=masks.confidence,
            masks=masks,
            latency_ms=watch.stop(),
        )
        self.latency_ms = watch.latency_ms
        return found

    def prepare(self, image: np.ndarray | Frame) -> Prepared:
        """The networks' inputs; views of buffers, valid until the next call of any method but `segment`."""
        return self._preparer(_pixels(image))

    def detect(self, prepared: Prepared) -> Boxes:
        """The boxes of a prepared frame, at most `max_objects`; those without an area are left out."""
        out = self._detect(
            {
                "images": prepared.images,
                "geometry": prepared.geometry.vector(),
                "confidence": np.array(self.confidence, np.float32),
                "iou": np.array(self.iou, np.float32),
            }
        )
        kept: slice | np.ndarray = slice(int(out["count"]))
        if int(out["unconverged"]):
            self.unconverged_frames += 1
            kept = finish(out["boxes"], out["scores"], out["class_ids"], self.confidence, self.iou)
        xyxy = prepared.geometry.clip(out["boxes"][kept])
        some = np.flatnonzero((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))[: self.max_objects]
        return Boxes(xyxy[some], out["scores"][kept][some], out["class_ids"][kept][some].astype(np.int64))

    def embed(self, image: np.ndarray | Frame) -> Embedding:
        """One image embedded, for any number of prompts; raises as a call does."""
        pixels = _pixels(image)
        with self._lock:
            return self._embedding(self._preparer.encoder_input(pixels))

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
        """Free the engines."""
        for engine in self._engines.values():
            engine.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _masks(
        self, embedding: Embedding, prompts: Prompts, all_masks: bool = False, boxes: np.ndarray | None = None
    ) -> Masks:
        engine = self._decoder(prompts, all_masks)
        geometry = embedding.geometry
        if not len(prompts):
            return _no_masks(geometry)
        logits, confidence = decode(engine, embedding.array, geometry.vector(), prompts)
        count, masks = confidence.shape
        if all_masks:
            owner = np.repeat(np.arange(count), masks)
            return Masks(logits.reshape(-1, *logits.shape[2:]), confidence.ravel(), geometry, boxes, owner)
        # One mask a prompt, or all four where the bundle was made so: the best by its own account.
        best, one = confidence.argmax(1), np.arange(count)
        return Masks(logits[:, 0] if masks == 1 else logits[one, best], confidence[one, best], geometry, boxes)

    def _decoder(self, prompts: Prompts, all_masks: bool) -> Engine:
        engine = self._segment
        if prompts.mask_input is not None:
            if "segment_mask" not in self._engines:
                raise BundleError(
                    f"{self.bundle.path}: has no segment_mask.onnx, which masks as prompts need; "
                    "make a bundle that has it with tools/make_bundle.py --mask-prompts, or --mask-decoder FILE"
                )
            engine = self._engines["segment_mask"]
            got, side = prompts.mask_input.shape[-1], self.bundle.encoder_px // 4
            if got != side:
                raise UsageError(f"mask_input: wanted logits of {side} a side, as this bundle's answers are, got {got}")
        if all_masks and engine.outputs["iou_predictions"].shape[1] == 1:
            raise UsageError(
                f"all_masks: {self.bundle.path} gives one mask a prompt; all four want a bundle made with "
                "tools/make_bundle.py --masks all, of a decoder that gives four"
            )
        return engine

    def _embedding(self, prepared: Prepared) -> Embedding:
        return Embedding(self._embed({"image": prepared.image})["image_embeddings"], prepared.geometry)

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
) -> Segmenter:
    """What `nanoseg.load` does; see there."""
    from nanoseg.backends import check_backend, open_engines
    from nanoseg.bundle import open_bundle

    # Files are read and networks loaded after whatever can be refused without them.
    check_backend(backend)
    check_settings(confidence, iou, max_objects)
    resizer(resize)
    opened = open_bundle(bundle)
    engines = open_engines(opened, backend)
    return Segmenter(opened, engines, confidence=confidence, iou=iou, max_objects=max_objects, resize=resize)


def _pixels(image: np.ndarray | Frame) -> np.ndarray:
    pixels = image.image if isinstance(image, Frame) else image
    wanted = "image: wanted (H, W, 3) uint8, BGR"
    if not isinstance(pixels, np.ndarray):
        raise UsageError(f"{wanted}, got {type(pixels).__name__}; read the file with cv2.imread first")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        hint = ""
        if pixels.dtype == np.uint8 and pixels.ndim == 2:
            hint = "; cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) makes one of it"
        elif pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 4:
            hint = "; cv2.cvtColor(image, cv2.COLOR_BGRA2BGR) makes one of it"
        raise UsageError(f"{wanted}, got {pixels.shape} {pixels.dtype}{hint}")
    return np.ascontiguousarray(pixels)


def check_settings(confidence: float | None, iou: float | None, max_objects: int | None) -> None:
    """Raise UsageError for a threshold outside [0, 1], and for a `max_objects` below 1."""
    for name, value in (("confidence", confidence), ("iou", iou)):
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}: wanted a number from 0 to 1, got {value}")
    if max_objects is not None and max_objects < 1:
        raise UsageError(f"max_objects: wanted 1 or more, got {max_objects}")


def _no_masks(geometry: Geometry) -> Masks:
    return Masks(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32), geometry, np.zeros((0, 4), np.float32))
