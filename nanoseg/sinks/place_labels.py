"""Places for the names of objects on a crowded picture."""

from __future__ import annotations

import numpy as np


def place_labels(boxes: np.ndarray, sizes_wh: np.ndarray, frame_hw: tuple[int, int]) -> np.ndarray:
    """Return a rectangle for each label, (N, 4) xyxy in pixels, inside the frame; the first ones choose first.

    A label takes the first free place above its box, within it, below it, and at its right side; where none is free,
    the one that covers the least of the labels before it.

    Args:
        boxes: (N, 4) xyxy in pixels of the frame, the most important one first.
        sizes_wh: (N, 2) width and height of the labels in pixels.
        frame_hw: height and width of the frame.
    """
    placed = np.zeros((len(boxes), 4))
    height, width = frame_hw
    for index, ((left, top, right, bottom), (label_w, label_h)) in enumerate(zip(boxes, sizes_wh, strict=True)):
        corners = np.array(
            [
                (left, top - label_h),
                (right - label_w, top - label_h),
                (left, top),
                (left, bottom),
                (right - label_w, bottom),
                (left, bottom - label_h),
                (right, top),
                (left - label_w, top),
                ((left + right - label_w) / 2, (top + bottom - label_h) / 2),
                (left, top + label_h),
                (left, bottom + label_h),
            ]
        )
        corners = np.clip(corners, 0, np.maximum((width - label_w, height - label_h), 0))
        places = np.concatenate([corners, corners + np.array([label_w, label_h])], 1)
        covered = _overlap(places, placed[:index]).sum(1)
        placed[index] = places[covered.argmin()]
    return placed


def _overlap(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area that each of (P, 4) shares with each of (N, 4)."""
    sides = np.minimum(places[:, None, 2:], others[None, :, 2:]) - np.maximum(places[:, None, :2], others[None, :, :2])
    return np.asarray(np.clip(sides, 0, None).prod(2))
