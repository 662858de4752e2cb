"""Silhouette privacy: objects of some classes made unrecognisable in every frame of a source, failing closed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.boxes import Boxes, box_iou, box_overlap
from nanoseg.processing.upsampling import Region
from nanoseg.sinks.redact_pixels import FILL, check_mode, hide_regions
from nanoseg.sinks.redact_regions import KnownRegions
from nanoseg.types import Frame

CONFIDENCE = 0.1  # an object is covered from here on, long before it is reported
BORDER_CONFIDENCE = 0.03  # the same of one that comes in, of which the detector sees but a part
UNKNOWN = 0.3  # confidence from which on there is something, whatever it is
SURE = 0.5  # confidence from which on a class is believed
SAME_IOU = 0.5  # of a doubtful box and one of a positively other class from which that is one thing
WARM_UP = 3  # frames with a result before the first one is shown
MARGIN_PX = 2.0
NOT_SEGMENTED, NOTHING_FOUND, TOO_MUCH_FOUND, STARTING = "not segmented", "nothing found", "too much found", "starting"


class Redactor:
    """Covers objects of some classes in the frames of one source, all of which it is given in order.

    Covered are, with a margin: every box of these classes, also of low confidence; every other box that is not
    positively of another class, at the border of the frame also of very low confidence, as what comes in is at first
    too little to be told; and a strip along the border, as it is before that too little to be found. The margin is
    wider where another object is near: what is partly behind it may show on its other side. What was found before and
    is not found any more stays covered where it was, and where it would be if it went on. The whole frame is covered
    where it was not segmented, where nothing at all was found or so much that boxes may be missing, and after a start,
    a change of size or a long gap until some frames in turn have results.

    A mask of a detection extends at most a tenth beyond its box, which is inside the margin: masks need not be computed
    to be covered.

    It cannot promise anything of an object that the detector never finds, or takes for another class with confidence;
    of one that appears away from the border, from behind something, until it is found; nor of one that is lost for
    longer than it is remembered. Where it was, how large it was and how it moved is not hidden. The blocks and blurs of
    many frames together say more than those of one; only `fill` says nothing of colours.
    """

    def __init__(
        self,
        class_ids: Sequence[int] | np.ndarray,
        mode: str = FILL,
        *,
        confidence: float = CONFIDENCE,
        border_confidence: float = BORDER_CONFIDENCE,
        margin: float = 0.25,
        near_margin: float = 0.5,
        border: float = 0.03,
        hold_s: float = 1.0,
        gap_s: float = 2.0,
        trust_empty: bool = False,
    ) -> None:
        """Start with nothing known: the first frames are covered.

        Args:
            class_ids: Of the classes that are covered.
            mode: "fill", "pixelate" or "blur".
            confidence: Boxes are covered from this confidence on.
            border_confidence: The same of boxes at the border of the frame, where it is lower.
            margin: Boxes are grown at each side by this part of their longer side, and by 2 px.
            near_margin: The same where a box, grown by `margin`, meets that of another object.
            border: Width of the strip that is always covered, as a part of the frame's shorter side.
            hold_s: Seconds for which an object is remembered that is not found any more.
            gap_s: Seconds without a result after which nothing is trusted.
            trust_empty: Whether a frame is shown in which nothing at all was found: for a scene that is empty at times,
                and a bundle that knows nothing else that is in it. A detector that fails silently is then noticed by
                none of its frames.

        Raises:
            UsageError: For another mode, and for a number out of range.
        """
        check_mode(mode)
        numbers = {"confidence": (confidence, 1.0), "border_confidence": (border_confidence, 1.0)}
        numbers |= {"margin": (margin, 4.0), "near_margin": (near_margin, 4.0), "border": (border, 0.5)}
        for name, (value, highest) in numbers.items():
            if not 0 <= value <= highest:
                raise UsageError(f"redact: {name}: wanted a number from 0 to {highest:g}, got {value}")
        for name, value in (("hold_s", hold_s), ("gap_s", gap_s)):
            if not 0 <= value < math.inf:
                raise UsageError(f"redact: {name}: wanted seconds >= 0, got {value}")
        self.class_ids = np.asarray(class_ids, np.int64)
        self.mode, self.least_confidence = mode, float(min(confidence, border_confidence))
        self.whole_reason = STARTING  # why the whole of the last frame was covered; empty where it was not
        self._confidence, self._margin, self._near_margin = confidence, margin, max(margin, near_margin)
        self._border, self._gap_s, self._trust_empty = border, gap_s, trust_empty
        self._regions = KnownRegions(hold_s)
        self._size_hw: tuple[int, int] | None = None
        self._now_s = self._result_s = 0.0
        self._results = 0  # frames with a result since the start

    def redact(self, frame: Frame, found: Boxes | None, complete_from: float = 0.0) -> Frame:
        """Return a frame whose pixels may leave the process, and leave the given one as it is.

        Args:
            frame: The next frame of the source, also where it was skipped or failed.
            found: All that was found in it, of all classes, down to `least_confidence` and without a limit of objects:
                `Detections.seen`, or `segmenter.detect(frame, confidence=redactor.least_confidence)`. None where the
                frame was not segmented, and where boxes of an earlier frame were carried over.
            complete_from: Confidence above which `found` has all boxes, `Detections.seen_complete_from`: a bundle has
                rows for so many and no more.
        """
        regions = self._cover(frame, found, complete_from)
        return replace(frame, image=hide_regions(frame.image, regions, self.mode))

    def _cover(self, frame: Frame, found: Boxes | None, complete_from: float) -> list[Region]:
        """Return the regions to cover; sets `whole_reason`."""
        height, width = frame.size_hw
        now_s = (frame.captured_ns if frame.media_ns is None else frame.media_ns) / 1e9
        if frame.size_hw != self._size_hw or not self._now_s <= now_s <= self._result_s + self._gap_s:
            self._regions.clear()
            self._results, self._result_s = 0, now_s
        self._size_hw, self._now_s = frame.size_hw, now_s
        border_px = self._border * min(height, width)
        covered = None
        if found is None or not (np.isfinite(found.xyxy).all() and np.isfinite(found.confidence).all()):
            self.whole_reason = NOT_SEGMENTED
        elif not (self._trust_empty or (found.confidence >= self._confidence).any()):
            self.whole_reason = NOTHING_FOUND
        elif not complete_from < self._confidence:
            self.whole_reason = TOO_MUCH_FOUND
        else:
            self._results, self._result_s = self._results + 1, now_s
            seen, wanted = self._seen(found)
            covered = self._regions.update(*self._doubtful(seen, wanted, frame.size_hw, border_px), now_s)
            others = seen.xyxy[~wanted & (seen.confidence >= self._confidence)]
            self.whole_reason = STARTING if self._results <= WARM_UP else ""
        if covered is None or self.whole_reason:
            return [Region(0, 0, width, height)]
        strip = math.ceil(border_px)
        edges = [(0, 0, width, strip), (0, height - strip, width, height)]
        edges += [(0, 0, strip, height), (width - strip, 0, width, height)]
        grown = self._grown(covered, others)
        inside = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], 1).clip(0, [width, height] * 2)
        return [Region(*edge) for edge in edges] + [Region(*box) for box in inside.astype(int).tolist()]

    def _seen(self, found: Boxes) -> tuple[Boxes, np.ndarray]:
        """Return what was found, as far as it may count, and which of it is of the classes to cover (N,)."""
        seen = found.confidence >= self.least_confidence
        boxes = Boxes(found.xyxy[seen].astype(np.float64), found.confidence[seen], found.class_id[seen])
        return boxes, np.isin(boxes.class_id, self.class_ids)

    def _doubtful(
        self, seen: Boxes, wanted: np.ndarray, size_hw: tuple[int, int], border_px: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (M, 4) that are to be covered, and which are surely of the classes (M,)."""
        height, width = size_hw
        xyxy, reach = seen.xyxy, max(border_px, MARGIN_PX)
        inner = (xyxy[:, :2] > reach).all(1) & (xyxy[:, 2:] < [width - reach, height - reach]).all(1)
        positive = ~wanted & (seen.confidence >= SURE)
        # A box that is positively of another class explains itself, and those of the same thing.
        explained = (box_iou(xyxy, xyxy[positive]) >= SAME_IOU).any(1)
        least = np.where(wanted, self._confidence, UNKNOWN)
        covered = np.where(inner, seen.confidence >= least, True) & (wanted | ~explained)
        return xyxy[covered], (wanted & (seen.confidence >= SURE))[covered]

    def _grown(self, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return boxes (N, 4) with their margins, beside other objects (M, 4)."""
        longer = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
        outwards = np.array([-1, -1, 1, 1])
        grown = boxes + outwards * (self._margin * longer + MARGIN_PX)
        shared, _ = box_overlap(grown, others)
        near = ((shared > 0) & (box_iou(boxes, others) < SAME_IOU)).any(1, keepdims=True)
        return np.asarray(np.where(near, boxes + outwards * (self._near_margin * longer + MARGIN_PX), grown))
