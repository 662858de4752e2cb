"""Silhouette privacy: objects of some classes made unrecognisable in every frame of a source, failing closed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.boxes import box_overlap
from nanoseg.processing.classes import Classes, class_ids
from nanoseg.processing.masks import Region
from nanoseg.sinks.redact_pixels import FILL, check_mode, hide_regions
from nanoseg.sinks.redact_regions import KnownRegions
from nanoseg.types import Frame

REDACT_CONFIDENCE = 0.1  # an object is covered from here on, long before it is reported
SURE = 0.5  # confidence from which on a class is believed
EXPLAINED = 0.9  # the part of a doubtful box that lies in one of a positively other class
WARM_UP = 3  # frames with a result before the first one is shown
MARGIN_PX = 2.0
NOT_SEGMENTED, NOTHING_FOUND, STARTING = "not segmented", "nothing found", "starting"


class Found(Protocol):
    """What was found in a frame: `Detections`, or the `Boxes` of `Segmenter.detect`."""

    @property
    def xyxy(self) -> np.ndarray:
        """(N, 4), in pixels of the frame."""

    @property
    def confidence(self) -> np.ndarray:
        """(N,) in [0, 1]."""

    @property
    def class_id(self) -> np.ndarray:
        """(N,) whole numbers."""


class Redactor:
    """Covers objects of some classes in the frames of one source, all of which it is given in order.

    Covered are, with a margin: every box of these classes, also of low confidence; every box at the border of the frame
    that is not positively of another class, as what comes in is at first too little to be told; and a strip along the
    border, as what comes in is before that too little to be found. What was found before and is not found any more
    stays covered where it was, and where it would be if it went on. The whole frame is covered where it was not
    segmented, where nothing at all was found, and after a start, a change of size or a long gap until some frames in
    turn have results.

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
        confidence: float = REDACT_CONFIDENCE,
        margin: float = 0.25,
        border: float = 0.03,
        hold_s: float = 1.0,
        gap_s: float = 2.0,
        trust_empty: bool = False,
    ) -> None:
        """Start with nothing known: the first frames are covered.

        Args:
            class_ids: Of the classes that are covered.
            mode: "fill", "pixelate" or "blur".
            confidence: Boxes are covered from this confidence on; what `redact` is given must go down to it.
            margin: Boxes are grown at each side by this part of their longer side, and by 2 px.
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
        for name, value, highest in (("confidence", confidence, 1.0), ("margin", margin, 4.0), ("border", border, 0.5)):
            if not 0 <= value <= highest:
                raise UsageError(f"redact: {name}: wanted a number from 0 to {highest:g}, got {value}")
        for name, value in (("hold_s", hold_s), ("gap_s", gap_s)):
            if not 0 <= value < math.inf:
                raise UsageError(f"redact: {name}: wanted seconds >= 0, got {value}")
        self.class_ids = np.asarray(class_ids, np.int64)
        self.mode, self.confidence = mode, float(confidence)
        self.whole_reason = STARTING  # why the whole of the last frame was covered; empty where it was not
        self._margin, self._border, self._gap_s, self._trust_empty = margin, border, gap_s, trust_empty
        self._regions = KnownRegions(hold_s)
        self._size_hw: tuple[int, int] | None = None
        self._now_s = self._result_s = 0.0
        self._results = 0  # frames with a result since the start

    @classmethod
    def of_classes(cls, classes: Classes, labels: Sequence[str], mode: str = FILL) -> Redactor:
        """Return a redactor of classes by name, with the defaults of all else.

        Args:
            classes: Names as in `labels`, or ids.
            labels: Names of the bundle's classes.
            mode: As the constructor takes it.

        Raises:
            UsageError: For no class, for one that the bundle does not have, and for another mode.
        """
        try:
            chosen = np.asarray(class_ids(classes, labels))
        except UsageError as error:
            raise UsageError(f"redact: {error}") from error
        return cls(chosen, mode)

    def redact(self, frame: Frame, found: Found | None) -> Frame:
        """Return a frame whose pixels may leave the process, and leave the given one as it is.

        Args:
            frame: The next frame of the source, also where it was skipped or failed.
            found: All that was found in it, of all classes, down to `confidence` and without a limit of objects: as of
                `segmenter.detect(frame, confidence=redactor.confidence)`. None where the frame was not segmented, and
                where boxes of an earlier frame were carried over.
        """
        regions = self._cover(frame, found)
        return replace(frame, image=hide_regions(frame.image, regions, self.mode))

    def _cover(self, frame: Frame, found: Found | None) -> list[Region]:
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
        elif not (self._trust_empty or (found.confidence >= self.confidence).any()):
            self.whole_reason = NOTHING_FOUND
        else:
            self._results, self._result_s = self._results + 1, now_s
            covered = self._regions.update(*self._wanted(found, frame.size_hw, border_px), now_s)
            self.whole_reason = STARTING if self._results <= WARM_UP else ""
        if covered is None or self.whole_reason:
            return [Region(0, 0, width, height)]
        strip = math.ceil(border_px)
        edges = [(0, 0, width, strip), (0, height - strip, width, height)]
        edges += [(0, 0, strip, height), (width - strip, 0, width, height)]
        grown = covered + np.array([-1, -1, 1, 1]) * self._margins(covered)
        inside = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], 1).clip(0, [width, height] * 2)
        return [Region(*edge) for edge in edges] + [Region(*box) for box in inside.astype(int).tolist()]

    def _wanted(self, found: Found, size_hw: tuple[int, int], border_px: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (M, 4) of a frame that are to be covered, and which are surely of these classes (M,)."""
        seen = found.confidence >= self.confidence
        xyxy, confidence = found.xyxy[seen].astype(np.float64), found.confidence[seen]
        wanted = np.isin(found.class_id[seen], self.class_ids)
        height, width = size_hw
        reach = max(border_px, MARGIN_PX)
        inner = (xyxy[:, :2] > reach).all(1) & (xyxy[:, 2:] < [width - reach, height - reach]).all(1)
        positive = ~wanted & (confidence >= SURE)
        shared, _ = box_overlap(xyxy, xyxy[positive])
        area = (xyxy[:, 2:] - xyxy[:, :2]).prod(1)
        # A box that is positively of another class explains itself.
        explained = (shared >= EXPLAINED * area[:, None]).any(1)
        covered = wanted | ~(inner | explained)
        return xyxy[covered], (wanted & (confidence >= SURE))[covered]

    def _margins(self, boxes: np.ndarray) -> np.ndarray:
        return np.asarray(self._margin * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) + MARGIN_PX)
