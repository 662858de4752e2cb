"""Boxes that a detector found, and the overlap of boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# A mask may reach beyond its box by this much of the box's side, and never less than that many pixels.
MASK_MARGIN = 0.10
MASK_MARGIN_PX = 2.0
SHARED_IOU = 0.8  # boxes that overlap by more are one object, whatever it is called: they have one mask


class Boxes(NamedTuple):
    """Boxes of one image with their classes, in pixels of that image, most confident first."""

    xyxy: np.ndarray  # (N, 4) float32: left, top, right, bottom
    confidence: np.ndarray  # (N,) float32 in [0, 1]
    class_id: np.ndarray  # (N,) int64

    keypoints: np.ndarray | None = None  # (N, J, 3) float32: x, y, confidence, of a bundle that finds them

    def __repr__(self) -> str:
        return f"Boxes({len(self.xyxy)})"

    def take(self, chosen: np.ndarray | slice) -> Boxes:
        """Return some of the boxes, with what belongs to them."""
        keypoints = None if self.keypoints is None else self.keypoints[chosen]
        return Boxes(self.xyxy[chosen], self.confidence[chosen], self.class_id[chosen], keypoints)


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes (n, 4) and (m, 4), xyxy, as (n, m) float64; two boxes without area have 0."""
    intersection, union = box_overlap(one.astype(np.float64), other.astype(np.float64))
    iou: np.ndarray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return iou


def box_overlap(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas (n, m) of intersection and union of boxes (n, 4) and (m, 4), xyxy, in their own dtype."""
    left, top, right, bottom = one.T[..., None]
    left_2, top_2, right_2, bottom_2 = other.T
    width = np.minimum(right, right_2) - np.maximum(left, left_2)
    height = np.minimum(bottom, bottom_2) - np.maximum(top, top_2)
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area = (right - left) * (bottom - top)
    area_2 = (right_2 - left_2) * (bottom_2 - top_2)
    return intersection, area + area_2 - intersection


def mask_limits(boxes: np.ndarray, frame_hw: tuple[int, int]) -> np.ndarray:
    """Return the part of the frame that the mask of each box may fill: (N, 4) int; right and bottom are exclusive.

    Args:
        boxes: (N, 4) float32, xyxy in pixels of the frame.
        frame_hw: the frame's height and width.
    """
    corners = boxes.astype(np.float64).reshape(-1, 2, 2)
    margin = (corners[:, 1] - corners[:, 0]) * MASK_MARGIN + MASK_MARGIN_PX
    first = np.maximum(np.floor(corners[:, 0] - margin), 0)
    last = np.minimum(np.ceil(corners[:, 1] + margin), frame_hw[::-1])
    return np.concatenate([first, last], 1).astype(np.intp)


def shared_prompts(xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of N boxes are prompts, so that each box has one that it is or overlaps by more than SHARED_IOU.

    Args:
        xyxy: (N, 4) float32, those first that are to be prompts: the most confident ones.

    Returns:
        The indices (M,) of the prompts, and the place among these of each box's own, (N,), both int64.
    """
    close = box_iou(xyxy, xyxy) > SHARED_IOU
    np.fill_diagonal(close, False)
    if not close.any():
        each = np.arange(len(xyxy))
        return each, each
    own = np.full(len(xyxy), -1, np.int64)
    for index in range(len(xyxy)):
        if own[index] < 0:
            own[(own < 0) & close[index]] = index
            own[index] = index
    asked, own = np.unique(own, return_inverse=True)
    return asked, own
