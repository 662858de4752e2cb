"""Mean IoU of the masks of detected boxes and visible ground truth: detector and segmenter in one figure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoseg.evaluation.protocols import DetectedBoxes, DetectedMasks, TrueBoxes, TrueMasks
from nanoseg.processing.boxes import box_iou

# COCO's limits of small and medium objects, in pixels of the true mask.
SMALL_PX, MEDIUM_PX = 32**2, 96**2
MATCH_IOU = 0.5


class MaskScores(NamedTuple):
    """Mean over all true objects, and over those of each of COCO's sizes; None where there are none."""

    miou: float | None
    miou_small: float | None
    miou_medium: float | None
    miou_large: float | None


class MaskIou:
    """Collects image after image; a true object without a detection counts 0."""

    def __init__(self) -> None:
        self._ious: list[float] = []
        self._areas_px: list[int] = []

    def add(self, truth: TrueMasks, detections: DetectedMasks) -> None:
        """Take one image's ground truth and detections."""
        matches = match(truth, detections)
        masks = detections.mask if (matches >= 0).any() else ()
        for true_mask, index in zip(truth.masks, matches, strict=True):
            self._ious.append(mask_iou(true_mask, masks[index]) if index >= 0 else 0.0)
            self._areas_px.append(int(np.count_nonzero(true_mask)))

    def result(self) -> MaskScores:
        """Return the means over everything added so far."""
        ious, areas = np.array(self._ious), np.array(self._areas_px)
        small, large = areas < SMALL_PX, areas >= MEDIUM_PX
        return MaskScores(*(_mean(ious[chosen]) for chosen in (slice(None), small, ~small & ~large, large)))


def match(truth: TrueBoxes, detections: DetectedBoxes, iou: float = MATCH_IOU) -> np.ndarray:
    """Match detections to true objects of their class, as COCO's evaluation does.

    The most confident box chooses first: of the true objects that are not yet taken the one of largest box IoU.

    Args:
        truth: n true objects.
        detections: the detections in the same image.
        iou: minimum box IoU of a match.

    Returns:
        (n,) int64: index of the detection of each true object, or -1.
    """
    ious = box_iou(truth.xyxy, detections.xyxy)
    ious[truth.class_id[:, None] != detections.class_id[None]] = 0
    taken = np.full(len(ious), -1, np.int64)
    for index in np.argsort(-detections.confidence, kind="stable"):
        free = np.where(taken < 0, ious[:, index], 0)
        if len(free) and free.max() >= iou:
            taken[free.argmax()] = index
    return taken


def mask_iou(first: np.ndarray, second: np.ndarray, empty: float = 0.0) -> float:
    """Return the IoU of two (H, W) bool masks; `empty` for two empty ones."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else empty


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
