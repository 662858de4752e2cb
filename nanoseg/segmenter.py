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
from nanoseg.geometry import Geometry
from nanoseg.masks import Masks
from nanoseg.nms import finish
from nanoseg.prepare import Prepared, Preparer
from nanoseg.timing import Stopwatch
from nanoseg.types import Detections, Frame, Prompts

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

# The decoder's memory grows with its prompts (24 MiB each at full size), so many are done in several calls.
PROMPTS_A_CALL = 16


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
    """A bundle's four graphs chained; a context manager.

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
    ) -> None:
        """`engines` are the bundle's detect, embed and segment; they are closed with the segmenter."""
        self.bundle = bundle
        self.confidence = _unit("confidence", bundle.confidence if confidence is None else confidence)
        self.iou = _unit("iou", bundle.iou if iou is None else iou)
        if max_objects is not None and max_objects < 1:
            raise UsageError(f"max_objects: wanted 1 or more, got {max_objects}")
        self.max_objects = max_objects
        self.unconverged_frames = 0  # frames whose NMS the host had to finish
        self.latency_ms: dict[str, float] = {}  # of the last frame, by stage
        self._names = np.array(bundle.labels, dtype=np.str_)
        self._detect, self._embed, self._segment = (engines[name] for name in ("detect", "embed", "segment"))
        self._preparer = Preparer(bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
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
                masks = self.segment(embedding, boxes=boxes.xyxy)
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

    def segment(self, embedding: Embedding, *, boxes: Any = None, points: Any = None, labels: Any = None) -> Masks:
        """One mask a prompt: `boxes` (N, 4), or `points` and `labels` of N prompts, in pixels of the frame.

        See Prompts for shapes and labels. Raises UsageError for prompts that do not fit.
        """
        if (boxes is None) == (points is None) or (points is None) != (labels is None):
            raise UsageError("segment: wanted either boxes, or points together with labels")
        prompts = Prompts.from_boxes(boxes) if points is None else Prompts.from_points(points, labels)
        if not len(prompts):
            return _no_masks(embedding.geometry)
        # A decoder made elsewhere may take one prompt a call only.
        step = self._segment.inputs["point_coords"].shape[0] or PROMPTS_A_CALL
        calls = [
            self._segment(
                {
                    "image_embeddings": embedding.array,
                    "point_coords": prompts.coords[start : start + step],
                    "point_labels": prompts.labels[start : start + step],
                    "geometry": embedding.geometry.vector(),
                }
            )
            for start in range(0, len(prompts), step)
        ]
        logits, confidence = (
            calls[0][name] if len(calls) == 1 else np.concatenate([out[name] for out in calls])
            for name in ("low_res_masks", "iou_predictions")
        )
        # One mask a prompt, or all four where the bundle was made so: the best by its own account.
        best = confidence.argmax(1)
        one = np.arange(len(best))
        logits = logits[:, 0] if logits.shape[1] == 1 else logits[one, best]
        corners = prompts.coords.reshape(-1, 4) if points is None else None
        return Masks(logits, confidence[one, best], embedding.geometry, corners)

    def close(self) -> None:
        """Free the engines."""
        for engine in (self._detect, self._embed, self._segment):
            engine.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
) -> Segmenter:
    """What `nanoseg.load` does; see there."""
    from nanoseg.backends import open_engines
    from nanoseg.bundle import open_bundle

    opened = open_bundle(bundle)
    engines = open_engines(opened, backend)
    return Segmenter(opened, engines, confidence=confidence, iou=iou, max_objects=max_objects)


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


def _unit(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"{name}: wanted a number from 0 to 1, got {value}")
    return float(value)


def _no_masks(geometry: Geometry) -> Masks:
    return Masks(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32), geometry, np.zeros((0, 4), np.float32))
