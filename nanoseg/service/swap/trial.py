"""The trial of a bundle: loaded beside the running one, and run on the same live frames, as much as that allows."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nanoseg.service.config import SwapConfig
from nanoseg.service.swap.agreement import Comparison, non_finite
from nanoseg.types import Detections, Frame
from nanoseg.utils.memory import settled_mb

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

# Sets thresholds and classes as they are configured now; raises UsageError where the bundle does not have the classes.
Fit = Callable[["Segmenter"], None]

TRIAL_S = 600.0  # in which its frames have to come
WARM_FRAMES = 3  # live ones before those that count: libraries make room for their sizes
MAX_SPANS = 10_000  # of the running bundle's frames beside one of the trial, which may never return
LOOK_S = 0.25  # after which a thread that waits looks at the clock


class RefusedError(Exception):
    """A bundle does not hold what it has to; the message says why."""


class CancelledError(RefusedError):
    """A trial was ended before its end."""


class Seen(NamedTuple):
    """A live frame, and what the running bundle has found in it."""

    frame: Frame
    found: Detections


class Span(NamedTuple):
    """From when to when a bundle worked on a frame, by time.perf_counter."""

    start_s: float
    end_s: float

    @classmethod
    def until_now(cls, found: Detections) -> Span:
        """Return the span of a frame that was finished just now."""
        end_s = time.perf_counter()
        return cls(end_s - found.latency_ms.get("total", 0.0) / 1e3, end_s)

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def shared_s(self, other: Span) -> float:
        """Return how long both worked."""
        return max(0.0, min(self.end_s, other.end_s) - max(self.start_s, other.start_s))


class Feed:
    """Live frames for a trial in another thread. The loop of frames never waits for it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start without a frame; `clock` in seconds."""
        self._clock = clock
        self._changed = threading.Condition()
        self._wanted = False
        self._taken: Seen | None = None
        # Of the running bundle since that, and whether the whole work was done.
        self._frames: deque[tuple[Span, bool]] = deque(maxlen=MAX_SPANS)
        self._tried: Counter[str] = Counter()  # frames of the trial, by camera
        self._cameras: set[str] = set()  # that gave a frame since the latest of them
        self.shed = 0  # frames that tell nothing, as work was left out for the deadline
        self._ended = ""

    def put(self, frame: Frame, found: Detections) -> None:
        """Show a frame that the running bundle has just finished; see Swapper.offer. In the loop's thread."""
        with self._changed:
            self._frames.append((Span.until_now(found), not found.shed))
            if found.shed:
                self.shed += 1
                self._changed.notify_all()
                return
            self._cameras.add(frame.name)
            # Cameras take turns in the loop: without turns here, a trial of every second frame would see one of two.
            if self._wanted and self._tried[frame.name] <= min(self._tried[name] for name in self._cameras):
                self._wanted, self._taken = False, Seen(frame, found)
                self._tried[frame.name] += 1
                self._cameras = set()
                self._frames.clear()
            self._changed.notify_all()

    def end(self, reason: str) -> None:
        """End the trial with a reason. From any thread."""
        with self._changed:
            self._ended = self._ended or reason
            self._changed.notify_all()

    def take(self, end_s: float) -> Seen | None:
        """Return the next frame that the running bundle finishes from now on, or None where none comes until then.

        Raises:
            CancelledError: the trial was ended.
        """
        with self._changed:
            self._wanted, self._taken = True, None
            self._wait(lambda: self._taken is not None, end_s)
            self._wanted, seen, self._taken = False, self._taken, None
            return seen

    def times(self, trial: Span, end_s: float) -> tuple[float, float] | None:
        """Return the times in ms of a frame of the trial and of one of the running bundle that ran beside it.

        Of a time in which both worked half counts to each: the machine was shared.

        Args:
            trial: when the trial worked on its frame.
            end_s: until when to wait for the running bundle.

        Returns:
            None where the running bundle had nothing to do meanwhile; two zeros where all of its frames beside had
            work left out for a deadline, which tells nothing.

        Raises:
            CancelledError: the trial was ended.
        """
        with self._changed:
            self._wait(lambda: bool(self._frames) and self._frames[-1][0].end_s >= trial.end_s, end_s)
            beside = [(frame, whole, trial.shared_s(frame)) for frame, whole in self._frames]
        shared_all_s = sum(shared_s for _, _, shared_s in beside)
        if not shared_all_s:
            return None
        whole_frames = [(shared_s, frame) for frame, whole, shared_s in beside if whole and shared_s > 0]
        if not whole_frames:
            return 0.0, 0.0
        shared_s, frame = max(whole_frames)
        trial_s = trial.length_s - min(trial.length_s, shared_all_s) / 2
        return 1e3 * trial_s, 1e3 * (frame.length_s - shared_s / 2)

    def pause(self, seconds: float) -> None:
        """Wait; raises CancelledError where the trial is ended meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)
            self._check()

    def _wait(self, is_there: Callable[[], bool], end_s: float) -> None:
        while not is_there() and not self._ended and self._clock() < end_s:
            self._changed.wait(LOOK_S)
        self._check()

    def _check(self) -> None:
        if self._ended:
            raise CancelledError(self._ended)


@dataclass
class Trial:
    """What a bundle has to pass; in a thread of its own."""

    limits: SwapConfig
    estimate_mb: Callable[[], float]  # returns what it takes at least; raises NanosegError
    open: Callable[[], Segmenter]  # opens it, verified; raises NanosegError
    fit: Fit
    show: Callable[[Mapping[str, Any]], None]  # takes figures
    feed: Feed
    clock: Callable[[], float]
    memory_mb: float = 0.0  # that it takes, so far
    _before_mb: float = 0.0  # what the process took without it

    def load(self) -> Segmenter:
        """Return the bundle's segmenter.

        Raises:
            RefusedError: it takes too much memory.
            NanosegError: it cannot be loaded.
        """
        self._check_memory(self.estimate_mb())  # first: a service that runs out of memory is killed
        self._before_mb = settled_mb()
        segmenter = self.open()
        try:
            self._check_growth()
        except BaseException:
            segmenter.close()
            raise
        return segmenter

    def compare(self, segmenter: Segmenter) -> None:
        """Run it on live frames.

        Raises:
            RefusedError: it does not hold what it has to, or the trial was ended.
            NanosegError: it fails.
        """
        limits, feed = self.limits, self.feed
        comparison, end_s = Comparison(limits), self.clock() + TRIAL_S
        self.show({"frames": 0, "frames_wanted": limits.frames})
        warm(segmenter, feed, self.fit, end_s)
        while comparison.frames < limits.frames:
            if (seen := feed.take(end_s)) is None:
                raise RefusedError(self._too_few(comparison))
            self.fit(segmenter)  # the configuration may have been read again
            found = segmenter(seen.frame)
            trial = Span.until_now(found)
            if comparison.add(seen.frame.name, found, seen.found):
                alone = 1e3 * trial.length_s, seen.found.latency_ms.get("total", 0.0)
                comparison.add_time(*(feed.times(trial, end_s) or alone))
            self.show(comparison.figures())
            if fault := comparison.fault():
                raise RefusedError(fault)
            feed.pause(trial.length_s)  # the running bundle has the machine for half of the time
        self._check_growth()  # with what frames made it take

    def _check_growth(self) -> None:
        self._check_memory(settled_mb() - self._before_mb)

    def _check_memory(self, mb: float) -> None:
        self.memory_mb = max(mb, self.memory_mb)
        self.show({"memory_mb": round(self.memory_mb)})
        if self.memory_mb > self.limits.memory_mb:
            wanted = f"{self.limits.memory_mb:g} (memory_mb)"
            raise RefusedError(f"it takes {self.memory_mb:.0f} MB; wanted at most {wanted}")

    def _too_few(self, comparison: Comparison) -> str:
        reason = f"only {comparison.frames} of {self.limits.frames} frames with objects came within {TRIAL_S:g} s"
        if self.feed.shed:
            reason += f"; {self.feed.shed} more had work left out for model.deadline_ms, and tell nothing"
        return reason


def warm(segmenter: Segmenter, feed: Feed, fit: Fit, end_s: float) -> None:
    """Run a segmenter on a few live frames, as far as they come until then.

    Raises:
        RefusedError: it finds what is no number, or the feed was ended.
        NanosegError: it fails, or does not fit the configuration.
    """
    for _ in range(WARM_FRAMES):
        if (seen := feed.take(end_s)) is None:
            return
        fit(segmenter)
        if name := non_finite(segmenter(seen.frame)):
            raise RefusedError(f"its {name} are not all finite numbers")
