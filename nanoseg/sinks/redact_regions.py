"""Regions that stay covered for a while after the object in them was found last."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from nanoseg.processing.boxes import box_iou

SAME_OBJECT_IOU = 0.3  # of a region and the box of the next frame
DUPLICATE_IOU = 0.5  # of two boxes of one frame
ESTABLISHED = 3  # frames in which an object was found before it is remembered for long
SHORT_FRAMES = 3  # for which any other is remembered: low confidences come and go
GROWTH_PER_S = 0.25  # of an object's longer side, for a change of its course
_HISTORY = 5  # boxes from which the motion of a region's sides is measured


@dataclass
class _Known:
    """A region of which it is remembered where it was, and when."""

    history: deque[tuple[float, np.ndarray]] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    found: int = 0  # frames
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
            hold_s: Seconds for which an object that was found in several frames is remembered.
        """
        self._hold_s = hold_s
        self._known: list[_Known] = []

    def clear(self) -> None:
        """Forget all regions."""
        self._known = []

    def update(self, boxes: np.ndarray, now_s: float) -> np.ndarray:
        """Take the boxes of a frame in, and return these and where those are now that were not found again.

        Each box continues one region at most, so that of two people who meet neither is forgotten.

        Args:
            boxes: (N, 4) float, xyxy in pixels.
            now_s: The frame's time, which rises.

        Returns:
            (M, 4) float64 boxes.
        """
        boxes = _without_duplicates(boxes.astype(np.float64))
        continued = _match(np.array([known.box for known in self._known]).reshape(-1, 4), boxes)
        missing = [known for index, known in enumerate(self._known) if index not in continued.values()]
        current = [self._known[continued[index]] if index in continued else _Known() for index in range(len(boxes))]
        for known, box in zip(current, boxes, strict=True):
            known.history.append((now_s, box))
            known.found, known.missed = known.found + 1, 0
        for known in missing:
            known.missed += 1
        held = [known for known in missing if self._is_held(known, now_s)]
        self._known = current + held
        return np.concatenate([boxes, *(known.at(now_s, GROWTH_PER_S)[None] for known in held)])

    def _is_held(self, known: _Known, now_s: float) -> bool:
        if known.missed <= SHORT_FRAMES:
            return True
        return known.found >= ESTABLISHED and now_s - known.history[-1][0] <= self._hold_s


def _without_duplicates(boxes: np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) of which those of one object are united: each would leave a region of its own behind."""
    kept: list[np.ndarray] = []
    for box in boxes:
        for index, other in enumerate(kept):
            if box_iou(box[None], other[None])[0, 0] > DUPLICATE_IOU:
                kept[index] = np.concatenate([np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])])
                break
        else:
            kept.append(box)
    return np.array(kept, np.float64).reshape(-1, 4)


def _match(before: np.ndarray, boxes: np.ndarray) -> dict[int, int]:
    """Return by the index of a box the index of the one before that it continues, best pairs first."""
    overlap = box_iou(before, boxes)
    pairs = np.argwhere(overlap > SAME_OBJECT_IOU)
    matched: dict[int, int] = {}
    for old, new in pairs[np.argsort(-overlap[tuple(pairs.T)], kind="stable")].tolist():
        if new not in matched and old not in matched.values():
            matched[new] = old
    return matched
