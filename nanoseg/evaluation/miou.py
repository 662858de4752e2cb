"""Mean IoU of the masks of found boxes against visible truth: detector and segmenter in one figure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoseg.evaluation.protocols import FoundBoxes, FoundMasks, TrueBoxes, TrueMasks
from nanoseg.processing.boxes import box_iou

# COCO's bounds of small and medium, in pixels of the true mask.
SMALL_PX, MEDIUM_PX = 32**2, 96**2
MATCH_IOU = 0.5


class MaskScores(NamedTuple):
    """Mean over all true objects, and over those of each of COCO's sizes; None where there are none."""

    miou: float | None
    miou_small: float | None
    miou_medium: float | None
    miou_large: float | None


class MaskIou:
    """Collects picture after picture; a true object that nobody found counts 0."""

    def __init__(self) -> None:
        self._ious: list[float] = []
        self._areas_px: list[int] = []

    def add(self, truth: TrueMasks, found: FoundMasks) -> None:
        """One picture's truth and what was found in it."""
        matches = match(truth, found)
        masks = found.mask if (matches >= 0).any() else ()
        for true_mask, index in zip(truth.masks, matches, strict=True):
            self._ious.append(mask_iou(true_mask, masks[index]) if index >= 0 else 0.0)
            self._areas_px.append(int(np.count_nonzero(true_mask)))

    def result(self) -> MaskScores:
        """The means over everything added so far."""
        ious, areas = np.array(self._ious), np.array(self._areas_px)
        small, large = areas < SMALL_PX, areas >= MEDIUM_PX
        return MaskScores(*(_mean(ious[some]) for some in (slice(None), small, ~small & ~large, large)))


def match(truth: TrueBoxes, found: FoundBoxes, iou: float = MATCH_IOU) -> np.ndarray:
    """(n,) int64: for each true object the index of what was found of it, or -1.

    The most confident box chooses first: the true object of its class, not yet taken, that it covers best with
    a box IoU of at least `iou`, as COCO's evaluation matches.
    """
    ious = box_iou(truth.xyxy, found.xyxy)
    ious[truth.class_id[:, None] != found.class_id[None]] = 0
    taken = np.full(len(ious), -1, np.int64)
    for index in np.argsort(-found.confidence, kind="stable"):
        free = np.where(taken < 0, ious[:, index], 0)
        if len(free) and free.max() >= iou:
            taken[free.argmax()] = index
    return taken


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two (H, W) bool masks; two empty ones have 0."""
    whole = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / whole if whole else 0.0


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
