"""Keypoints of a COCO annotation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NUMBERS = (int, float)  # bool is another type


def parse_keypoints(entry: Mapping[str, Any], where: str) -> tuple[float, ...] | None:
    """Return x, y and visibility of each keypoint of an annotation, 3 J numbers; None where it has no such key.

    Raises:
        ValueError: it is no list of finite numbers, three for each; the message begins with `where`.
    """
    values = entry.get("keypoints")
    if values is None:
        return None
    is_flat = isinstance(values, list) and all(type(value) in _NUMBERS for value in values)
    if not is_flat or not values or len(values) % 3:
        got = f"{len(values)} entries" if isinstance(values, list) else type(values).__name__
        raise ValueError(f"{where}: its keypoints are {got}, wanted x, y and visibility of each in one list of numbers")
    try:
        numbers = tuple(map(float, values))
    except OverflowError:  # a whole number of hundreds of digits
        numbers = (math.inf,)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where}: its keypoints have NaN or infinity")
    return numbers
