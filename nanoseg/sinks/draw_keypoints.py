"""Drawing poses: the lines of a skeleton between its keypoints."""

from __future__ import annotations

import numpy as np

from nanoseg.errors import needs
from nanoseg.types import Detections

with needs("OpenCV", "opencv"):
    import cv2

MIN_CONFIDENCE = 0.5  # of the keypoints that are drawn, as in super-gradients
_OUTLINE_BGR = (24, 20, 16)


def draw_keypoints(image: np.ndarray, detections: Detections, colours_bgr: list[tuple[int, int, int]]) -> None:
    """Draw the keypoints of detections, and lines between those that the skeleton joins.

    Args:
        image: (H, W, 3) uint8 BGR, drawn on in place.
        detections: in pixels of the image; those without keypoints draw nothing.
        colours_bgr: of each of the detections.
    """
    if detections.keypoints is None:
        return
    skeleton = [] if detections.keypoint_set is None else detections.keypoint_set.skeleton
    radius = max(2, round(min(image.shape[:2]) / 200))
    thickness = max(1, radius // 2)
    # Far outside OpenCV's own coordinates, as those of a network may be, nothing would be drawn rightly.
    reach = 4 * max(image.shape[:2])
    for rows, colour in zip(detections.keypoints, colours_bgr, strict=True):
        seen = (rows[:, 2] >= MIN_CONFIDENCE) & (np.abs(rows[:, :2]) < reach).all(1)
        places = np.where(seen[:, None], rows[:, :2], 0).round().astype(int).tolist()
        for first, second in skeleton:
            if seen[first] and seen[second]:
                cv2.line(image, places[first], places[second], _OUTLINE_BGR, thickness + 2, cv2.LINE_AA)
                cv2.line(image, places[first], places[second], colour, thickness, cv2.LINE_AA)
        for index in np.flatnonzero(seen):
            cv2.circle(image, places[index], radius + 1, _OUTLINE_BGR, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(image, places[index], radius, colour, cv2.FILLED, cv2.LINE_AA)
