"""Masks of COCO objects. pycocotools checks nothing: what would crash it, or show it free memory, is refused before."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoseg.errors import UsageError, needs, one_line
from nanoseg.processing import rle

REACH = 2  # sides of the image that a polygon may reach beyond it: pycocotools cuts it there


def coco_mask(segmentation: Any, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the mask of an object, (H, W) bool.

    Args:
        segmentation: a list of polygons, or a run-length code with a list of counts or COCO's text.
        size_hw: size of the image.

    Raises:
        ValueError: it is neither, or cannot be of that image; the message is the end of a sentence.
    """
    return rle.decode(coco_rle(segmentation, size_hw))


def coco_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return the mask of an object as COCO's `{"size": [H, W], "counts": text}`; raises as `coco_mask` does."""
    checked = check_segmentation(segmentation, size_hw)
    if isinstance(checked, np.ndarray):
        return {"size": list(size_hw), "counts": rle.to_text(checked)}
    with needs("pycocotools", "eval"):
        import pycocotools.mask as pycoco_mask
    encoded = pycoco_mask.merge(pycoco_mask.frPyObjects(checked, *size_hw))
    return {"size": list(size_hw), "counts": encoded["counts"].decode("ascii")}


def check_segmentation(segmentation: Any, size_hw: tuple[int, int]) -> np.ndarray | list[list[float]]:
    """Return the run lengths (n,) or the polygons of an object, and compute no mask; raises as `coco_mask` does."""
    if isinstance(segmentation, dict):
        return _runs(segmentation, size_hw)
    if not isinstance(segmentation, list):
        raise ValueError(f"a value of the type {type(segmentation).__name__}")
    return [_polygon(polygon, size_hw) for polygon in segmentation]


def _polygon(polygon: Any, size_hw: tuple[int, int]) -> list[float]:
    if not isinstance(polygon, list) or not all(type(number) in (int, float) for number in polygon):
        raise ValueError("a polygon that is no list of numbers")
    if len(polygon) % 2:
        raise ValueError(f"a polygon with an odd number of coordinates, {len(polygon)}")
    if len(polygon) < 6:  # pycocotools takes four numbers for a box
        raise ValueError(f"a polygon of {len(polygon) // 2} points, wanted 3 or more")
    limit = (1 + REACH) * max(size_hw)
    for number in polygon:
        if not -limit <= number <= limit:  # also for NaN
            shown = f"{number:g}" if isinstance(number, float) else "a whole number too large"
            raise ValueError(f"a polygon with the coordinate {shown}, in an image of {_size(size_hw)}")
    return [float(number) for number in polygon]


def _runs(code: dict[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise ValueError("a run-length code whose size is not height and width")
    if tuple(size) != size_hw:
        raise ValueError(f"a mask that is of an image of {_size(size)}, the file has {_size(size_hw)}")
    pixels = size_hw[0] * size_hw[1]
    if isinstance(counts, str):
        try:
            runs = rle.from_text(counts)
        except (UsageError, UnicodeEncodeError) as error:
            raise ValueError(f"a run-length code that is damaged: {one_line(error)}") from error
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        # A count larger than the image is wrong however large it is; an array holds no number of any length.
        runs = np.array([min(max(count, -1), pixels + 1) for count in counts], np.int64)
    else:
        raise ValueError("a run-length code whose counts are neither text nor whole numbers")
    if (runs < 0).any() or runs.sum() != pixels:
        raise ValueError(f"run lengths that do not make the {pixels} pixels of the image, or are negative")
    return runs


def _size(size_hw: Any) -> str:
    height, width = size_hw
    return f"{width} x {height} pixels"
