"""Objects of made-up scenes: boxes of usual sizes, and the logits of their masks."""

from __future__ import annotations

import numpy as np

from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks

USUAL, LARGEST = 0.08, 0.6  # of the frame


def usual_boxes(count: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Return boxes (N, 4) float32 anywhere in the frame, with areas of a log-normal distribution."""
    random = np.random.default_rng(0)
    frame = size_wh[0] * size_wh[1]
    share = random.lognormal(0, 0.8, count)
    for _ in range(20):  # until cutting the largest leaves the mean as it is
        share = np.minimum(share * USUAL / share.mean(), LARGEST)
    aspect = np.exp(random.normal(0, 0.35, count))
    sides = np.minimum(np.sqrt(share * frame)[:, None] * np.stack([aspect, 1 / aspect], 1), size_wh)
    corner = random.random((count, 2)) * (size_wh - sides)
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def square_boxes(count: int, side_px: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Return boxes (N, 4) float32 of one size, anywhere in the frame."""
    corner = np.random.default_rng(1).random((count, 2)) * (np.array(size_wh) - side_px)
    return np.concatenate([corner, corner + side_px], 1).astype(np.float32)


def masks_in(boxes: np.ndarray, geometry: Geometry) -> Masks:
    """Return ragged ellipses that fill boxes, as logits of a decoder."""
    grid = geometry.encoder_px // 4
    (sx, sy), _ = geometry.cells(grid)
    first, last = boxes[:, :2] * (sx, sy), boxes[:, 2:] * (sx, sy)
    random, (y, x) = np.random.default_rng(2), np.mgrid[:grid, :grid] + 0.5
    logits = np.empty((len(boxes), grid, grid), np.float32)
    for one, centre, radius in zip(logits, (first + last) / 2, (last - first) / 2, strict=True):
        distance = ((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2
        one[:] = 6 * np.maximum(1 - distance, -3) + random.normal(0, 0.3, (grid, grid))
    return Masks(logits, np.ones(len(boxes), np.float32), geometry, boxes)
