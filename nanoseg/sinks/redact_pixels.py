"""Regions of an image made unrecognisable: filled, or replaced by a few averages of many pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.processing.upsampling import Region

with needs("OpenCV", "opencv"):
    import cv2

BLUR, PIXELATE, FILL = "blur", "pixelate", "fill"
MODES = (BLUR, PIXELATE, FILL)
FILL_GREY = 128
BLOCKS = 4  # along the longer side of a region, however many pixels that has
LEVEL = 32  # averages are rounded to 8 levels a channel


def check_mode(mode: str) -> None:
    """Raise UsageError for a mode that there is not."""
    if mode not in MODES:
        raise UsageError(f"redact: mode: wanted {', '.join(MODES)}, got {mode}")


def hide_regions(image: np.ndarray, regions: Sequence[Region], mode: str) -> np.ndarray:
    """Return a copy of an image whose regions are unrecognisable.

    A filled region depends on no pixel of the image. A pixelated or blurred one depends on at most 16 averages of 8
    levels a channel, which blur only draws with soft edges: no filter can bring back what they do not hold.

    Args:
        image: (H, W, 3) uint8, which is left as it is.
        regions: Inside the image. Where two overlap the larger one, whose blocks are coarser, is seen.
        mode: One of MODES.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    hidden: np.ndarray = image.copy()
    for region in sorted(regions, key=_area):
        rows, columns = slice(region.top, region.bottom), slice(region.left, region.right)
        part = hidden[rows, columns]
        if not part.size:
            continue
        part[:] = FILL_GREY if mode == FILL else _averages(image[rows, columns], mode)
    return hidden


def _averages(part: np.ndarray, mode: str) -> np.ndarray:
    height, width = part.shape[:2]
    block_px = max(height, width) / BLOCKS
    blocks = max(round(width / block_px), 1), max(round(height / block_px), 1)
    # Of a region of less than four pixels a block is smaller than a pixel: one average is left.
    blocks = blocks if block_px >= 1 else (1, 1)
    small = cv2.resize(part, blocks, interpolation=cv2.INTER_AREA) // LEVEL * LEVEL + LEVEL // 2
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST if mode == PIXELATE else cv2.INTER_LINEAR)


def _area(region: Region) -> int:
    return (region.right - region.left) * (region.bottom - region.top)
