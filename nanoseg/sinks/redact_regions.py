"""Regions that stay covered for a while after the object in them was found last."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from nanoseg.processing.boxes import box_iou

SAME_OBJECT_IOU = 0.3  # of a region and the box of the next frame
DUPLICATE_IOU = 0.5  # of two boxes of one frame
ESTABLISHED = 3  # frames in which an object was surely found before it is remembered for long
SHORT_FRAMES = 3  # for which any other is remembered: what is doubtful comes and goes
GROWTH_PER_S = 0.25  # of an object's longer side, for a change of its course
_HISTORY = 5  # boxes from which the motion of a region's sides is measured


@dataclass
class _Known:
    """A region of which it is remembered where it was, and when."""

    history: deque[tuple[float, np.ndarray]] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    sure: int = 0  # frames in which it was surely found
    missed: int = 0  # frames since it was found last

    @property
    def box(self) -> np.ndarray:
        return self.history[-1][1]

    def at(self, now_s: float, growth_per_s: float) -> np.ndarray:
        """Return the box that holds it now: each side goes on moving outwards as it did, and the whole grows."""
        (first_s, first), (last_s, last) = self.history[0], self.history[-1]
        speed = (last - first) / (last_s - first_s) if last_s > first_s else np.zeros(4)
        age_s = now_s - last_s
        growth = growth_per_s * age_s * max(last[2] - last[0], last[3] - last[1])
        low, high = np.minimum(speed[:2], 0) * age_s - growth, np.maximum(speed[2:], 0) * age_s + growth
        return np.concatenate([last[:2] + low, last[2:] + high])


class KnownRegions:
    """What was to be covered in the frames before: as much as is needed where it is not found any more."""

    def __init__(self, hold_s: float) -> None:
        """Start without regions.

        Args:
            hold_s: Seconds for which an object that was surely found in several frames is remembered.
        """
        self._hold_s = hold_s
        self._known: list[_Known] = []

    def clear(self) -> None:
        """Forget all regions."""
        self._known = []

    def update(self, boxes: np.ndarray, sure: np.ndarray, now_s: float) -> np.ndarray:
        """Take the boxes of a frame in, and return these and where those are now that were not found again.

        Each box continues one region at most, so that of two people who meet neither is forgotten.

        Args:
            boxes: (N, 4) float64, xyxy in pixels.
            sure: (N,) bool, whether that is an object that surely is to be covered.
            now_s: The frame's time, which rises.

        Returns:
            (M, 4) float64 boxes.
        """
        boxes, sure = _without_duplicates(boxes, sure)
        continued = _match(np.array([known.box for known in self._known]).reshape(-1, 4), boxes)
        missing = [known for index, known in enumerate(self._known) if index not in continued.values()]
        current = [self._known[continued[index]] if index in continued else _Known() for index in range(len(boxes))]
        for known, box, is_sure in zip(current, boxes, sure.tolist(), strict=True):
            known.history.append((now_s, box))
            known.sure, known.missed = known.sure + is_sure, 0
        for known in missing:
            known.missed += 1
        held = [known for known in missing if self._is_held(known, now_s)]
        self._known = current + held
        return np.concatenate([boxes, *(known.at(now_s, GROWTH_PER_S)[None] for known in held)])

    def _is_held(self, known: _Known, now_s: float) -> bool:
        if known.missed <= SHORT_FRAMES:
            return True
        return known.sure >= ESTABLISHED and now_s - known.history[-1][0] <= self._hold_s


def _without_duplicates(boxes: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unite the boxes (N, 4) of one object, each of which would leave a region of its own behind."""
    same = box_iou(boxes, boxes) > DUPLICATE_IOU
    first = np.zeros(len(boxes), np.intp)  # of the boxes of an object, for each box
    for index in range(len(boxes)):
        firsts = np.flatnonzero(same[index, :index] & (first[:index] == np.arange(index)))
        first[index] = firsts[0] if len(firsts) else index
    groups = [first == index for index in np.unique(first)]
    united = [np.concatenate([boxes[group, :2].min(0), boxes[group, 2:].max(0)]) for group in groups]
    return np.array(united, np.float64).reshape(-1, 4), np.array([sure[group].any() for group in groups], np.bool_)


def _match(before: np.ndarray, boxes: np.ndarray) -> dict[int, int]:
    """Return by the index of a box the index of the one before that it continues, best pairs first."""
    overlap = box_iou(before, boxes)
    pairs = np.argwhere(overlap > SAME_OBJECT_IOU)
    matched: dict[int, int] = {}
    for old, new in pairs[np.argsort(-overlap[tuple(pairs.T)], kind="stable")].tolist():
        if new not in matched and old not in matched.values():
            matched[new] = old
    return matched
