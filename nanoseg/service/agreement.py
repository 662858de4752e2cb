"""How far two bundles agree on the same frames, and how long the new one takes."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from nanoseg.service.config import SwapConfig
from nanoseg.types import Detections

_WARM_FRAMES = 3  # of which the time does not count


class Comparison:
    """The frames that a new bundle and the running one have both seen."""

    def __init__(self) -> None:
        """Start without a frame."""
        self.frames = 0  # in which one of the two found something
        self._seen = 0
        self._sum = 0.0
        self._times_ms: list[tuple[float, float]] = []  # of the new bundle, of the running one
        self._broken = ""

    def add(self, new: Detections, running: Detections) -> None:
        """Compare what both found in one frame."""
        self._seen += 1
        for name, values in (
            ("confidences", new.confidence),
            ("boxes", new.xyxy),
            ("mask confidences", new.mask_confidence),
            ("masks", new.masks.logits),
        ):
            if not np.isfinite(values).all():
                self._broken = f"its {name} are not all finite numbers"
        if self._seen > _WARM_FRAMES:
            self._times_ms.append((new.latency_ms.get("total", 0.0), running.latency_ms.get("total", 0.0)))
        if len(new) or len(running):
            self.frames += 1
            self._sum += frame_agreement(new, running)

    def figures(self) -> dict[str, Any]:
        """Return frames, agreement, and the new bundle's median latency over that of the running one."""
        figures: dict[str, Any] = {"frames": self.frames}
        if self.frames:
            figures["agreement"] = round(self._sum / self.frames, 3)
        if self._times_ms:
            figures["latency"] = round(self._latency(), 2)
        return figures

    def fault(self, limits: SwapConfig, frames: int) -> str:
        """Return why the new bundle is not as good, as soon as that is certain or after `frames`; empty: it is."""
        if self._broken:
            return self._broken
        best = (self._sum + frames - self.frames) / frames  # if both agreed on all that is to come
        if best < limits.agreement:
            return f"its masks agree by {self._sum / self.frames:.2f}; wanted {limits.agreement:g} (swap.agreement)"
        if self.frames >= frames and self._times_ms and self._latency() > limits.latency:
            return f"it takes {self._latency():.2f} times as long; wanted {limits.latency:g} at most (swap.latency)"
        return ""

    def _latency(self) -> float:
        new, running = median(new for new, _ in self._times_ms), median(running for _, running in self._times_ms)
        return new / max(running, 1e-3)


def frame_agreement(new: Detections, running: Detections) -> float:
    """Return the mean mask IoU of the objects of two results: pairs of one class, greedily; unmatched ones count 0."""
    pairs = sorted(
        (
            (_mask_iou(new, i, running, j), i, j)
            for i in range(len(new))
            for j in range(len(running))
            if str(new.class_name[i]) == str(running.class_name[j])
        ),
        reverse=True,
    )
    used_new, used_running, total = set[int](), set[int](), 0.0
    for iou, i, j in pairs:
        if i not in used_new and j not in used_running:
            used_new.add(i)
            used_running.add(j)
            total += iou
    return total / max(len(new), len(running), 1)


def _mask_iou(a: Detections, i: int, b: Detections, j: int) -> float:
    """Return the IoU of two masks, computed where both may be."""
    (left_a, top_a, mask_a), (left_b, top_b, mask_b) = a.masks.crop(i), b.masks.crop(j)
    left, top = max(left_a, left_b), max(top_a, top_b)
    right = min(left_a + mask_a.shape[1], left_b + mask_b.shape[1])
    bottom = min(top_a + mask_a.shape[0], top_b + mask_b.shape[0])
    if right <= left or bottom <= top:
        return 0.0
    part_a = mask_a[top - top_a : bottom - top_a, left - left_a : right - left_a]
    part_b = mask_b[top - top_b : bottom - top_b, left - left_b : right - left_b]
    both = int(np.count_nonzero(part_a & part_b))
    either = int(np.count_nonzero(mask_a)) + int(np.count_nonzero(mask_b)) - both
    return both / either if either else 0.0
