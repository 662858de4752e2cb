"""COCO's average precision and recall in plain numpy, from its description: the oracle of nanoseg.evaluation.

Slow and dense: masks are whole arrays, and each figure is computed by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# As COCO has them: 28 % recall is a little less than its level of 0.28.
THRESHOLDS, RECALLS = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0, 1, 101).tolist()
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


@dataclass(frozen=True, eq=False)
class Shape:
    """A box, or a mask, of an image: true or found."""

    image: int
    category: int
    shape: np.ndarray  # (4,) left, top, width, height, or (H, W) bool
    area: float
    crowd: bool = False
    score: float = 0.0


def overlap(found: np.ndarray, true: np.ndarray, crowd: bool) -> float:
    """IoU, but for a crowd: how much of what was found lies in it."""
    if found.ndim == 2:
        common, area, other = np.sum(found & true), np.sum(found), np.sum(true)
    else:
        ends = np.minimum(found[:2] + found[2:], true[:2] + true[2:])
        common = np.prod(np.maximum(ends - np.maximum(found[:2], true[:2]), 0))
        area, other = np.prod(found[2:]), np.prod(true[2:])
    union = area if crowd else area + other - common
    return float(common / union) if common else 0.0


class Judge:
    """Says of each detection of an image and category if it is right."""

    def __init__(self) -> None:
        self._overlaps: dict[tuple[int, int], float] = {}  # by the shapes' identity: they are asked for again and again

    def __call__(
        self, true: list[Shape], found: list[Shape], area: tuple[float, float], threshold: float
    ) -> list[bool | None]:
        """Return right, wrong or not counted (None) of detections, the surest first."""
        ignored = [one.crowd or not area[0] <= one.area <= area[1] for one in true]
        taken = [False] * len(true)
        verdicts: list[bool | None] = []
        for each in found:
            ious = [self._overlap(each, one) for one in true]
            # What counts goes first. Of equal overlaps the later one is taken.
            for of_ignored in (False, True):
                fits = [
                    i
                    for i, one in enumerate(true)
                    if ignored[i] == of_ignored and ious[i] >= threshold and (one.crowd or not taken[i])
                ]
                if fits:
                    best = max(fits, key=lambda i: (ious[i], i))
                    taken[best] = True
                    verdicts.append(None if of_ignored else True)
                    break
            else:
                verdicts.append(False if area[0] <= each.area <= area[1] else None)
        return verdicts

    def _overlap(self, found: Shape, true: Shape) -> float:
        key = (id(found), id(true))
        if key not in self._overlaps:
            self._overlaps[key] = overlap(found.shape, true.shape, true.crowd)
        return self._overlaps[key]


def curve(verdicts: Sequence[bool | None], positives: int) -> tuple[float, float]:
    """Average precision over 101 levels of recall, and the recall, of detections from the surest on."""
    right = wrong = 0
    points = []
    for verdict in verdicts:
        if verdict is None:
            continue
        right, wrong = right + verdict, wrong + (not verdict)
        points.append((right / positives, right / (right + wrong)))
    envelope, best = [], 0.0
    for recall, precision in reversed(points):
        best = max(best, precision)
        envelope.append((recall, best))
    envelope.reverse()
    levels = [next((best for recall, best in envelope if recall >= level), 0.0) for level in RECALLS]
    return float(np.mean(levels)), right / positives


Key = tuple[str, bool, float | None, str, int]  # name, of recall, IoU, area, detections an image


def plain_figure(true: list[Shape], found: list[Shape], categories: list[int], key: Key, judge: Judge) -> float | None:
    """One of COCO's figures over some categories; None without true objects."""
    _, of_recall, iou, area_name, most = key
    area = AREAS[area_name]
    values = []
    for category in categories:
        true_of, found_of = _by_image(true, category), _by_image(found, category)
        mine = [one for some in true_of.values() for one in some]
        positives = sum(not one.crowd and area[0] <= one.area <= area[1] for one in mine)
        if not positives:
            continue
        for threshold in THRESHOLDS if iou is None else [iou]:
            scored: list[tuple[float, bool | None]] = []
            for image in sorted(found_of):
                here = sorted(found_of[image], key=lambda one: -one.score)[:most]
                verdicts = judge(true_of.get(image, []), here, area, threshold)
                scored += zip((one.score for one in here), verdicts, strict=True)
            scored.sort(key=lambda pair: -pair[0])
            values.append(curve([verdict for _, verdict in scored], positives)[of_recall])
    return float(np.mean(values)) if values else None


def _by_image(shapes: list[Shape], category: int) -> dict[int, list[Shape]]:
    images: dict[int, list[Shape]] = {}
    for one in shapes:
        if one.category == category:
            images.setdefault(one.image, []).append(one)
    return images
