"""Regions of a camera's picture: objects counted by the share of their masks that lies within, and events of change."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from nanoseg.errors import needs
from nanoseg.service.config import RegionConfig
from nanoseg.types import Detections

with needs("OpenCV", "opencv"):
    import cv2

HOLD_S = 1.0  # for which a count has to last before it is an event: a detector blinks
GAP_S = 10.0  # without a frame, after which nothing is known of what was there meanwhile


class Region:
    """One region: counts by class of the latest frame, and events of counts that last.

    A count has risen or fallen to what all frames of HOLD_S have at least or at most: one that flickers between 4 and 5
    is 4. Without a tracker an event is a change of the number of objects: two that change places at once are none.
    """

    def __init__(self, config: RegionConfig) -> None:
        """Start empty."""
        self.config = config
        self.counts: Counter[str] = Counter()  # objects of the latest frame, by class
        self._lasting: dict[str, _Lasting] = {}  # by class, those of the last seconds
        self._now_s: float | None = None
        self._raster: np.ndarray | None = None

    def update(self, found: Detections, size_hw: tuple[int, int], now_s: float) -> list[dict[str, Any]]:
        """Count the objects of a frame.

        Args:
            found: with raster masks.
            size_hw: of the frame.
            now_s: when it was captured, in seconds of the source's own clock; where that goes back or on by more than
                GAP_S, what lasts begins to last anew.

        Returns:
            What happened: `{"event": "enter" | "leave" | "dwell", "region", "class_name", "count"}`, for a dwell with
            `dwell_s`.
        """
        raster = self._rasterize(size_hw)
        self.counts = Counter(
            str(found.class_name[index])
            for index in range(len(found))
            if self.config.classes is None or str(found.class_name[index]) in self.config.classes
            if _share_within(found, index, raster) >= self.config.share
        )
        if self._now_s is not None and not 0 <= now_s - self._now_s <= GAP_S:
            for lasting in self._lasting.values():
                lasting.restart(now_s)
        self._now_s = now_s
        return self._events(now_s)

    def _events(self, now_s: float) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for name in sorted({*self.counts, *self._lasting}):
            lasting = self._lasting.setdefault(name, _Lasting())
            before = lasting.count
            if lasting.add(now_s, self.counts[name]):
                events.append(self._event("enter" if lasting.count > before else "leave", name))
            present_s = lasting.present_s(now_s)
            if self.config.dwell_s is not None and not lasting.dwelt and present_s >= self.config.dwell_s:
                lasting.dwelt = True
                events.append({**self._event("dwell", name), "dwell_s": round(present_s, 1)})
            if lasting.is_over:
                del self._lasting[name]
        return events

    def _event(self, kind: str, name: str) -> dict[str, Any]:
        return {"event": kind, "region": self.config.name, "class_name": name, "count": self._lasting[name].count}

    def _rasterize(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Return the region's pixels, (H, W) bool."""
        if self._raster is None or self._raster.shape != size_hw:
            raster = np.zeros(size_hw, np.uint8)
            cv2.fillPoly(raster, [np.rint(polygon_px(self.config.polygon, size_hw)).astype(np.int32)], 1)
            self._raster = raster.astype(bool)
        return self._raster


class _Lasting:
    """The number of objects of one class, as far as it has lasted."""

    def __init__(self) -> None:
        self.count = 0
        self.dwelt = False  # since there is one
        self._since_s = 0.0  # there is one
        self._anew = False  # nothing has lasted for HOLD_S since a gap
        self._recent: deque[tuple[float, int]] = deque()  # counts of the last HOLD_S, and the one before

    def add(self, now_s: float, count: int) -> bool:
        """Take the count of a frame; returns whether the one that has lasted changes."""
        self._recent.append((now_s, count))
        while len(self._recent) > 1 and self._recent[1][0] <= now_s - HOLD_S:
            self._recent.popleft()
        if self._recent[0][0] > now_s - HOLD_S:
            return False
        self._anew = False
        counts, before = [count for _, count in self._recent], self.count
        self.count = max(min(counts), min(before, max(counts)))
        if not self.count:
            self.dwelt = False
        elif not before:
            self._since_s = self._recent[0][0]
        return self.count != before

    def restart(self, now_s: float) -> None:
        """Forget for how long anything has lasted."""
        self._recent.clear()
        self._since_s, self.dwelt, self._anew = now_s, False, True

    def present_s(self, now_s: float) -> float:
        """Return for how long there is one; 0 where there is none."""
        return now_s - self._since_s if self.count and not self._anew else 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is none, and was none lately."""
        return not self.count and not any(count for _, count in self._recent)


def polygon_px(polygon: Sequence[tuple[float, float]], size_hw: tuple[int, int]) -> np.ndarray:
    """Return a polygon in pixels of a frame, (P, 2) float64 x, y: fractions where all are 0 to 1, else pixels."""
    points = np.array(polygon, np.float64)
    return points * (size_hw[1], size_hw[0]) if points.max() <= 1 else points


def _share_within(found: Detections, index: int, raster: np.ndarray) -> float:
    """Return the share of an object's mask that lies within; of its box where the mask is empty."""
    left, top, mask = found.masks.crop(index)
    if not mask.any():
        height, width = raster.shape
        x0, y0, x1, y1 = np.rint(found.xyxy[index]).astype(int).clip(0, (width, height, width, height))
        left, top, mask = int(x0), int(y0), np.ones((max(0, y1 - y0), max(0, x1 - x0)), bool)
        if not mask.size:
            return 0.0
    within = raster[top : top + mask.shape[0], left : left + mask.shape[1]]
    return float(np.count_nonzero(within & mask) / np.count_nonzero(mask))
