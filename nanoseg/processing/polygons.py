"""Polygons of a mask's outline."""

from __future__ import annotations

import numpy as np


def outer_polygons(mask: np.ndarray, left_px: int = 0, top_px: int = 0) -> list[np.ndarray]:
    """Return the outer contours of a mask, without holes.

    Args:
        mask: (h, w) bool, a part of the frame.
        left_px: Column of the frame at which that part begins.
        top_px: Row of the frame at which that part begins.

    Returns:
        Arrays (P, 2) int32 of x, y in pixels of the frame.
    """
    import cv2

    if not mask.size:
        return []
    contours, _ = cv2.findContours(
        mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left_px, top_px)
    )
    return [contour.reshape(-1, 2) for contour in contours]
