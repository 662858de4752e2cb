"""How far a new bundle agrees with the running one on the same frames, and how long it takes beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from nanoseg.service.config import SwapConfig
from nanoseg.types import Detections

SOME_OBJECTS = 20  # of a class or camera, below which its own agreement says little
SLOW_FRAMES = 10  # the first ones, which are enough where all of them are too slow
_RENAMED = 0.2  # of the objects, from which on other names are a cause
_SAME_PLACE = 0.5  # IoU of masks from which two objects of different classes are one thing


@dataclass
class Tally:
    """Objects of a class or of a camera."""

    iou: float = 0.0  # the sum, 0 for an object that only one of the two bundles has found
    objects: int = 0

    @property
    def agreement(self) -> float:
        """The mean IoU."""
        return self.iou / self.objects


class Pair(NamedTuple):
    """An object that both bundles have found."""

    same_class: bool
    iou: float
    new: int  # index of the object
    running: int


class Comparison:
    """The frames that both bundles have seen, judged by the bounds of a swap."""

    def __init__(self, limits: SwapConfig) -> None:
        """Start without a frame."""
        self._limits = limits
        self.frames = 0  # in which at least one of the two has found something
        self._sum = 0.0  # of the frames' agreements
        self._parts: defaultdict[str, Tally] = defaultdict(Tally)  # by "class gear" or "camera belt"
        self._new_objects = self._running_objects = 0
        self._renamed: Counter[tuple[str, str]] = Counter()  # the running bundle's name of a thing, and the new one's
        self._ratios: list[float] = []  # of the times of a frame
        self._new_ms: list[float] = []
        self._broken = ""

    def add(self, camera: str, new: Detections, running: Detections) -> bool:
        """Compare what both found in one frame of a camera; returns whether it counts."""
        if name := non_finite(new):
            self._broken = f"its {name} are not all finite numbers"
        if not len(new) and not len(running):  # a bundle that sees nothing would agree
            return False
        pairs = list(match(new, running))
        agreeing = [pair for pair in pairs if pair.same_class]
        for pair in agreeing:
            self._count(camera, str(running.class_name[pair.running]), pair.iou)
        for found, matched in (
            (new, {pair.new for pair in agreeing}),
            (running, {pair.running for pair in agreeing}),
        ):
            for index in set(range(len(found))) - matched:
                self._count(camera, str(found.class_name[index]), 0.0)
        self._renamed.update(
            (str(running.class_name[pair.running]), str(new.class_name[pair.new]))
            for pair in pairs
            if not pair.same_class and pair.iou >= _SAME_PLACE
        )
        self._new_objects += len(new)
        self._running_objects += len(running)
        self.frames += 1
        self._sum += sum(pair.iou for pair in agreeing) / (len(new) + len(running) - len(agreeing))
        return True

    def add_time(self, new_ms: float, running_ms: float) -> None:
        """Take the times of one frame, both measured while the other bundle did as much."""
        if running_ms > 0:
            self._ratios.append(new_ms / running_ms)
            self._new_ms.append(new_ms)

    def figures(self) -> dict[str, Any]:
        """Return what was measured so far.

        `latency` is the median of the new bundle's time over that of the running one, `lowest_agreement` that of the
        class or camera that agrees least, among those with SOME_OBJECTS.
        """
        figures: dict[str, Any] = {"frames": self.frames}
        if self.frames:
            figures["agreement"] = round(self._sum / self.frames, 3)
        if lowest := self._lowest():
            name, tally = lowest
            figures |= {"lowest_agreement": round(tally.agreement, 3), "lowest_agreement_of": name}
        if self._ratios:
            figures |= {"latency": round(median(self._ratios), 2), "latency_ms": round(median(self._new_ms), 1)}
        return figures

    def fault(self) -> str:
        """Return why the new bundle is refused, as soon as no further frame can mend it; empty: so far it is not."""
        limits = self._limits
        if self._broken:
            return self._broken
        best = (self._sum + max(0, limits.frames - self.frames)) / max(limits.frames, self.frames)
        if best < limits.agreement:
            return self._disagreement("its masks agree", self._sum / self.frames, f"{limits.agreement:g} (agreement)")
        slow = sum(ratio > limits.latency for ratio in self._ratios)
        if slow > limits.frames / 2 or slow == len(self._ratios) >= SLOW_FRAMES:
            return self._slowness()
        if self.frames < limits.frames:
            return ""
        if (lowest := self._lowest()) and lowest[1].agreement < limits.lowest_agreement:
            name, tally = lowest
            wanted = f"{limits.lowest_agreement:g} (lowest_agreement)"
            return self._disagreement(f"its masks of {name} agree", tally.agreement, wanted)
        return self._slowness() if self._ratios and median(self._ratios) > limits.latency else ""

    def _count(self, camera: str, name: str, iou: float) -> None:
        for part in (f"class {name}", f"camera {camera}"):
            self._parts[part].iou += iou
            self._parts[part].objects += 1

    def _lowest(self) -> tuple[str, Tally] | None:
        enough = [each for each in self._parts.items() if each[1].objects >= SOME_OBJECTS]
        return min(enough, key=lambda each: each[1].agreement, default=None)

    def _disagreement(self, what: str, agreement: float, wanted: str) -> str:
        if not self._new_objects:
            return f"it found nothing in {self.frames} frames in which the running bundle found {self._running_objects}"
        if not self._running_objects:
            return f"it found {self._new_objects} objects in {self.frames} frames in which the running bundle saw none"
        reason = f"{what} with the running bundle's by {agreement:.2f}; wanted {wanted}"
        if self._renamed.total() > _RENAMED * self._running_objects or (self._renamed and "class" in what):
            (running, new), times = self._renamed.most_common(1)[0]
            reason += f"; what was '{running}' is '{new}' to it, {times} times"
        return reason

    def _slowness(self) -> str:
        return (
            f"it takes {median(self._ratios):.2f} times as long as the running bundle; wanted at most "
            f"{self._limits.latency:g} (latency)"
        )


def non_finite(found: Detections) -> str:
    """Return what of a result has NaN or infinity in it; empty: nothing."""
    for name, values in (
        ("boxes", found.xyxy),
        ("confidences", found.confidence),
        ("mask confidences", found.mask_confidence),
        ("masks", found.masks.logits),
    ):
        if not np.isfinite(values).all():
            return name
    return ""


def match(new: Detections, running: Detections) -> Iterator[Pair]:
    """Yield the objects whose masks overlap, each once: of one class first, and those that overlap most."""
    places_new, places_running = _places(new), _places(running)
    pairs = []
    for i, j in zip(*np.nonzero(_boxes_overlap(new.xyxy, running.xyxy)), strict=True):
        iou = mask_iou(places_new[i], places_running[j])
        if iou > 0:
            pairs.append(Pair(str(new.class_name[i]) == str(running.class_name[j]), iou, int(i), int(j)))
    used_new, used_running = set[int](), set[int]()
    for pair in sorted(pairs, reverse=True):
        if pair.new not in used_new and pair.running not in used_running:
            used_new.add(pair.new)
            used_running.add(pair.running)
            yield pair


def mask_iou(a: tuple[int, int, np.ndarray], b: tuple[int, int, np.ndarray]) -> float:
    """Return the IoU of two masks, each given by left, top and its pixels (h, w) bool."""
    (left_a, top_a, mask_a), (left_b, top_b, mask_b) = a, b
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


def _places(found: Detections) -> Sequence[tuple[int, int, np.ndarray]]:
    masks = found.masks.materialize()
    return [masks.crop(index) for index in range(len(found))]


def _boxes_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return which boxes (N, 4) overlap which boxes (M, 4), (N, M) bool."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray((high > low).all(-1))
