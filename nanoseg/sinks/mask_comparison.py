"""A small picture of a true and a found mask of one object."""

from __future__ import annotations

import math

import numpy as np

from nanoseg.errors import needs

with needs("OpenCV", "opencv"):
    import cv2

PICTURE_PX = 320  # longer side
_MARGIN, _MIN_MARGIN_PX = 0.35, 12  # around the object's box, of its longer side
_TRUE_BGR, _FOUND_BGR, _BOX_BGR = (90, 230, 60), (40, 110, 255), (255, 255, 255)
_FILL = 0.5
_QUALITY = 82


def draw_comparison(
    image: np.ndarray,
    xywh: tuple[float, float, float, float],
    true_mask: np.ndarray | None,
    found_mask: np.ndarray | None,
) -> bytes:
    """Draw an object's box in white, its true mask as a green outline and what was found filled in orange.

    Args:
        image: (H, W, 3) uint8 BGR.
        xywh: the box in pixels of the image; the picture shows it and a margin.
        true_mask: (H, W) bool, or None where there is no such object.
        found_mask: (H, W) bool, or None where nothing was found.

    Returns:
        A JPEG file.
    """
    height, width = image.shape[:2]
    left, top, wide, high = xywh
    margin = max(_MIN_MARGIN_PX, _MARGIN * max(wide, high))
    x0, y0 = (min(max(math.floor(side - margin), 0), limit - 1) for side, limit in ((left, width), (top, height)))
    x1 = max(min(math.ceil(left + wide + margin), width), x0 + 1)
    y1 = max(min(math.ceil(top + high + margin), height), y0 + 1)
    scale = PICTURE_PX / max(x1 - x0, y1 - y0)
    size_wh = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(image[y0:y1, x0:x1], size_wh, interpolation=kernel)
    if found_mask is not None:
        inside = cv2.resize(found_mask[y0:y1, x0:x1].astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST) > 0
        tinted = (1 - _FILL) * picture[inside] + _FILL * np.array(_FOUND_BGR)
        picture[inside] = tinted.astype(np.uint8)
    if true_mask is not None:
        inside8 = cv2.resize(true_mask[y0:y1, x0:x1].astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
        outlines = cv2.findContours(inside8, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(picture, outlines, -1, (0, 0, 0), 3)
        cv2.drawContours(picture, outlines, -1, _TRUE_BGR, 2)
    corners = [(left - x0, top - y0), (left + wide - x0, top + high - y0)]
    first, last = ((round(x * scale), round(y * scale)) for x, y in corners)
    cv2.rectangle(picture, first, last, _BOX_BGR, 1)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()
