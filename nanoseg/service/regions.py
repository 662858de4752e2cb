"""Regions of a camera's picture: objects counted by the share of their masks that lies within, and events of change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from nanoseg.errors import needs
from nanoseg.service.config import RegionConfig
from nanoseg.types import Detections

with needs("OpenCV", "opencv"):
    import cv2

HOLD_S = 1.0  # for which a count has to last before it is an event: a detector blinks


class Region:
    """One region: counts by class of the latest frame, and events of counts that last.

    Without a tracker an event is a change of the number of objects: two that change places at once are none.
    """

    def __init__(self, config: RegionConfig) -> None:
        """Start empty."""
        self.config = config
        self.counts: Counter[str] = Counter()  # objects of the latest frame, by class
        self._steady: Counter[str] = Counter()  # counts that have lasted
        self._changed_s: dict[str, tuple[int, float]] = {}  # by class: a count that does not last yet, since when
        self._present_s: dict[str, float] = {}  # by class: since when there is one
        self._dwelt: set[str] = set()
        self._raster: np.ndarray | None = None

    def update(self, found: Detections, size_hw: tuple[int, int], now_s: float) -> list[dict[str, Any]]:
        """Count the objects of a frame.

        Args:
            found: with raster masks.
            size_hw: of the frame.
            now_s: when it was captured, in seconds of any clock that does not go back.

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
        return self._events(now_s)

    def _events(self, now_s: float) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for name in {*self.counts, *self._steady, *self._changed_s}:
            count, steady = self.counts[name], self._steady[name]
            if count == steady:
                self._changed_s.pop(name, None)
            elif name not in self._changed_s or self._changed_s[name][0] != count:
                self._changed_s[name] = count, now_s
            elif now_s - self._changed_s[name][1] >= HOLD_S:
                self._steady[name] = count
                events.append(self._event("enter" if count > steady else "leave", name))
                if not steady:
                    self._present_s[name] = self._changed_s[name][1]
                del self._changed_s[name]
            if not self._steady[name]:
                self._present_s.pop(name, None)
                self._dwelt.discard(name)
            elif self.config.dwell_s is not None and name not in self._dwelt:
                present_s = now_s - self._present_s[name]
                if present_s >= self.config.dwell_s:
                    self._dwelt.add(name)
                    events.append({**self._event("dwell", name), "dwell_s": round(present_s, 1)})
        return sorted(events, key=lambda event: str(event["class_name"]))

    def _event(self, kind: str, name: str) -> dict[str, Any]:
        return {"event": kind, "region": self.config.name, "class_name": name, "count": self._steady[name]}

    def _rasterize(self, size_hw: tuple[int, int]) -> np.ndarray:
        """Return the region's pixels, (H, W) bool."""
        if self._raster is None or self._raster.shape != size_hw:
            raster = np.zeros(size_hw, np.uint8)
            cv2.fillPoly(raster, [np.rint(polygon_px(self.config.polygon, size_hw)).astype(np.int32)], 1)
            self._raster = raster.astype(bool)
        return self._raster


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
