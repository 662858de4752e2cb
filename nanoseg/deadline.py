"""Work that is shed, in a stated order, so that a frame of a live source is finished by its deadline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import time_ns
from typing import Protocol

from nanoseg.backends.object_masks import object_masks
from nanoseg.errors import UsageError
from nanoseg.segmenter import Segmenter
from nanoseg.types import Detections, Frame
from nanoseg.utils.timing import Stopwatch

MAX_DEADLINE_MS = 86_400_000  # a day
_NEW = 0.2  # weight of the newest measurement
_SLOW = 0.01  # the same of the age of fresh frames, upwards
_HYSTERESIS = 0.85  # work is taken up again where it is expected to need less than this part of what is left
FEWER_PROMPTS, CARRIED_BOXES, SKIPPED, LATE = "fewer_prompts", "carried_boxes", "skipped", "late"


class FrameSegmenter(Protocol):
    """Finds and segments the objects of frames."""

    @property
    def max_objects(self) -> int | None:
        """Maximum number of objects; None: all."""

    def __call__(self, frame: Frame, /, *, max_objects: int | None = None) -> Detections:
        """Return the objects of a frame, no more than `max_objects`."""


# Returns the objects of an earlier frame on this one without detection, no more than the number.
Carry = Callable[[Frame, Detections, "int | None"], Detections]


class Estimate:
    """A time that is seldom exceeded: the running mean of measurements and twice their mean deviation from it."""

    def __init__(self, first_ms: float) -> None:
        """Start with one measurement."""
        self._mean_ms, self._deviation_ms = first_ms, 0.0

    def add(self, measured_ms: float) -> None:
        """Take one measurement."""
        self._deviation_ms += _NEW * (abs(measured_ms - self._mean_ms) - self._deviation_ms)
        self._mean_ms += _NEW * (measured_ms - self._mean_ms)

    @property
    def ms(self) -> float:
        """The estimate in milliseconds."""
        return self._mean_ms + 2 * self._deviation_ms


class Costs:
    """Estimates of the stages of a frame in milliseconds, None until measured."""

    def __init__(self) -> None:
        """Start without measurements."""
        self._estimates: dict[str, Estimate] = {}

    @property
    def detect(self) -> float | None:
        """Prepare and detect."""
        return self._read("detect")

    @property
    def embed(self) -> float | None:
        """What is left of embed once detection is done."""
        return self._read("embed")

    @property
    def embed_alone(self) -> float | None:
        """Prepare and embed, of a frame without detection."""
        return self._read("embed_alone")

    @property
    def prompt(self) -> float | None:
        """Segment, for each prompt."""
        return self._read("prompt")

    def add(self, latency_ms: dict[str, float], prompts: int, detected: bool) -> None:
        """Take the stages of one frame in, with the number of its prompts."""
        if detected:
            self._add("detect", latency_ms.get("prepare", 0.0) + latency_ms.get("detect", 0.0))
            if "embed" in latency_ms:
                self._add("embed", latency_ms["embed"])
        else:
            self._add("embed_alone", latency_ms["embed"])
        if prompts and "segment" in latency_ms:
            self._add("prompt", latency_ms["segment"] / prompts)

    def _add(self, name: str, measured_ms: float) -> None:
        if name in self._estimates:
            self._estimates[name].add(measured_ms)
        else:
            self._estimates[name] = Estimate(measured_ms)

    def _read(self, name: str) -> float | None:
        return self._estimates[name].ms if name in self._estimates else None


@dataclass(frozen=True)
class Plan:
    """What is done with one frame."""

    skip: bool = False
    detect: bool = True  # False: the boxes of the frame before are segmented on this one
    max_objects: int | None = None  # prompts, the most confident ones; None: all


class Deadline:
    """Choose what to do with each frame so that it is finished within a time of its capture.

    Where a frame would be late, work is shed in this order: prompts, by confidence, down to one; detection, every
    second time, with the boxes of the frame before; the frame itself, where a fresher one would be in time. A frame
    that is late even so, as the pipeline alone takes longer than the deadline, is finished with the least work and
    counted as late.
    """

    def __init__(self, deadline_ms: float) -> None:
        """Start without measurements: until there are some, nothing is shed.

        Args:
            deadline_ms: milliseconds from the capture of a frame to its masks.

        Raises:
            UsageError: that is no time, or more than a day.
        """
        if not 0 < deadline_ms <= MAX_DEADLINE_MS:  # nor nan
            raise UsageError(f"deadline: wanted milliseconds above 0, up to {MAX_DEADLINE_MS}, got {deadline_ms:g}")
        self.deadline_ms = deadline_ms
        self.costs = Costs()
        self._carrying = False  # detection is shed, every second time
        self._fresh_ms: float | None = None  # the age of a frame that is taken at once

    def plan(self, age_ms: float, *, carry: int | None, limit: int | None = None) -> Plan:
        """Return what to do with a frame.

        Args:
            age_ms: milliseconds since its capture; below 0 where the clock was set back meanwhile.
            carry: the number of boxes that can be carried from the frame before; None: detection is due.
            limit: the largest number of prompts without a deadline.
        """
        costs = self.costs
        if age_ms < 0:  # which says nothing of fresh frames
            age_ms = 0.0
        elif self._fresh_ms is None or age_ms < self._fresh_ms:
            self._fresh_ms = age_ms
        else:  # a camera's delay may grow
            self._fresh_ms += _SLOW * (age_ms - self._fresh_ms)
        if costs.detect is None:
            return Plan(max_objects=limit)
        left_ms, embed_ms, prompt_ms = self.deadline_ms - age_ms, costs.embed or 0.0, costs.prompt or 0.0
        detecting = costs.detect + embed_ms + prompt_ms
        self._carrying = detecting > left_ms * (_HYSTERESIS if self._carrying else 1.0)
        if not self._carrying:
            return Plan(max_objects=_fitting(left_ms - costs.detect - embed_ms, costs.prompt, limit))
        alone_ms = embed_ms if costs.embed_alone is None else costs.embed_alone
        least = detecting if carry is None else alone_ms + prompt_ms * bool(carry)
        if least > left_ms and least <= self.deadline_ms - (self._fresh_ms or 0.0):
            return Plan(skip=True)
        if carry is None:
            return Plan(max_objects=1)
        fitting = _fitting(left_ms - alone_ms, costs.prompt, limit)
        return Plan(detect=False, max_objects=carry if fitting is None else min(carry, fitting))


class DeadlineSegmenter:
    """Segment the frames of live sources, each by its deadline."""

    def __init__(
        self, segmenter: FrameSegmenter, carry: Carry, deadline_ms: float, now_ns: Callable[[], int] = time_ns
    ) -> None:
        """Wrap a segmenter; see `segment_by_deadline`.

        Args:
            segmenter: Finds and segments; not closed here.
            carry: Segments without detection.
            deadline_ms: Milliseconds from the capture of a frame to its masks.
            now_ns: The clock of `Frame.captured_ns`.

        Raises:
            UsageError: The deadline is no time, or more than a day.
        """
        self._segmenter, self._carry = segmenter, carry
        self._deadline, self._now_ns = Deadline(deadline_ms), now_ns
        self._carried: dict[str, tuple[tuple[int, int], Detections]] = {}  # by camera: the size and objects to carry
        self.shed: Counter[str] = Counter()  # frames by what was shed: fewer_prompts, carried_boxes, skipped, late

    def __call__(self, frame: Frame) -> tuple[Detections | None, tuple[str, ...]]:
        """Return the objects of a frame, or None where it is skipped, and what was shed.

        Raises:
            EngineError: If a graph fails.
        """
        size, earlier = self._carried.pop(frame.name, (None, None))
        if size != frame.size_hw:
            earlier = None
        age_ms = (self._now_ns() - frame.captured_ns) / 1e6
        limit = self._segmenter.max_objects
        plan = self._deadline.plan(age_ms, carry=None if earlier is None else len(earlier), limit=limit)
        if plan.skip:
            if earlier is not None and size is not None:
                self._carried[frame.name] = size, earlier
            return None, self._count(SKIPPED)
        shed: list[str] = []
        if plan.detect or earlier is None:
            found = self._segmenter(frame, max_objects=plan.max_objects)
            self._carried[frame.name] = frame.size_hw, found
            if plan.max_objects is not None and plan.max_objects != limit and len(found) == plan.max_objects:
                shed.append(FEWER_PROMPTS)
        else:
            found = self._carry(frame, earlier, plan.max_objects)
            shed += [CARRIED_BOXES] + [FEWER_PROMPTS] * (len(found) < len(earlier))
        self._deadline.costs.add(dict(found.latency_ms), len(found), "detect" in found.latency_ms)
        if (self._now_ns() - frame.captured_ns) / 1e6 > self._deadline.deadline_ms:
            shed.append(LATE)
        return found, self._count(*shed)

    def _count(self, *shed: str) -> tuple[str, ...]:
        self.shed.update(shed)
        return shed


def segment_carried(segmenter: Segmenter, frame: Frame, earlier: Detections, limit: int | None = None) -> Detections:
    """Return the objects of an earlier frame with their masks on this one: their boxes are the prompts.

    Args:
        segmenter: Embeds the frame and segments the boxes.
        frame: Of the size of the earlier one.
        earlier: Whose boxes, classes and confidences are kept.
        limit: Maximum number of objects, the most confident ones; None: all.
    """
    count = len(earlier) if limit is None else min(limit, len(earlier))
    watch = Stopwatch()
    embedding = segmenter.embed(frame)
    watch.lap("embed")
    xyxy = earlier.xyxy[:count]
    masks = object_masks(segmenter.pipeline, embedding.handle, embedding.geometry, xyxy)
    watch.lap("segment")
    return replace(
        earlier,
        xyxy=xyxy,
        confidence=earlier.confidence[:count],
        class_id=earlier.class_id[:count],
        class_name=earlier.class_name[:count],
        mask_confidence=masks.confidence,
        masks=masks,
        latency_ms=watch.stop(),
        seen=None,
        keypoints=None,  # they moved, too, and nothing has seen where to
    )


def _fitting(left_ms: float, prompt_ms: float | None, limit: int | None) -> int | None:
    """Return how many prompts fit into the time that is left, at least one; None: as many as there are."""
    if not prompt_ms:
        return limit
    number = max(1, int(left_ms / prompt_ms))
    return number if limit is None else min(number, limit)
