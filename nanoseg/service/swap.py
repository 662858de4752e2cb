"""Gated hot swap: a new bundle runs on live frames beside the running one, and takes over only if it is as good."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from nanoseg.errors import NanosegError, UsageError, one_line
from nanoseg.service.agreement import Comparison
from nanoseg.service.config import SwapConfig
from nanoseg.types import Detections, Frame
from nanoseg.utils.memory import resident_mb

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

SHADOW_S = 600.0  # in which the frames of a trial have to come

State = Literal["idle", "loading", "shadow", "ready", "watching", "refused", "reverted"]


@dataclass(frozen=True)
class SwapState:
    """Where a swap stands; shown on the page and by `nanoseg service swap`."""

    state: State = "idle"
    bundle: str = ""  # that is tried, or was
    reason: str = ""  # why it was refused or put back
    figures: dict[str, Any] = field(default_factory=dict)  # frames, agreement, latency, memory_mb

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"state": self.state, "bundle": self.bundle, "reason": self.reason, **self.figures}


class Swapper:
    """Tries bundles in a thread; the loop of frames asks it between two frames for what to run next."""

    def __init__(
        self,
        limits: Callable[[], SwapConfig],
        load: Callable[[str], Segmenter],
        told: Callable[[str], None],
        on_swap: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            limits: returns what a new bundle has to hold.
            load: opens a bundle as the service runs it, verified and warm; raises NanosegError.
            told: takes a line about each step.
            on_swap: called in the loop's thread with the name of the bundle that runs from now on.
        """
        self._limits, self._load, self._told, self._on_swap = limits, load, told, on_swap
        self.outcomes: Counter[str] = Counter()  # swapped, refused, reverted, undone
        self._lock = threading.Condition()
        self._now = SwapState()
        self._offer: tuple[Frame, Detections] | None = None  # the newest frame that the trial has not seen
        self._next: tuple[str, Segmenter] | None = None  # to run from the next frame on
        self._before: tuple[str, Segmenter | None] | None = None  # the bundle before; None: closed already
        self._running = ""
        self._swapped_s = 0.0
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> SwapState:
        """Where the latest swap stands."""
        with self._lock:
            return self._now

    def start(self, bundle: str) -> None:
        """Start to try a bundle; raises UsageError where one is tried already. From any thread."""
        self._begin(bundle, self._try)

    def undo(self) -> None:
        """Put the bundle before back, without a trial; raises UsageError where there is none. From any thread."""
        with self._lock:
            if self._before is None:
                raise UsageError("no bundle ran before this one")
            name, segmenter = self._before
        self._begin(name, lambda bundle: self._put_back(bundle, segmenter))

    def offer(self, frame: Frame, found: Detections) -> None:
        """Show the trial a frame with what the running bundle found; never waits. In the loop's thread."""
        if self._now.state == "shadow":
            with self._lock:
                self._offer = frame, found
                self._lock.notify_all()

    def take(self, running: Segmenter) -> Segmenter | None:
        """Return the segmenter to run from now on, or None for the same. In the loop's thread, between two frames."""
        if self._now.state == "watching" and time.monotonic() - self._swapped_s > self._limits().watch_s:
            self._settle()
        if self._next is None:
            return None
        with self._lock:
            assert self._next is not None
            (name, segmenter), self._next = self._next, None
            self._before, self._running = (self._running, running), name
            self._swapped_s = time.monotonic()
            undone = self._now.reason == "put back"
            self._set(replace(self._now, state="idle" if undone else "watching"))
        self.outcomes["undone" if undone else "swapped"] += 1
        self._told(f"bundle {name} runs from now on{_listed(self.state.figures)}")
        self._on_swap(name)
        return segmenter

    def revert(self, running: Segmenter, reason: str) -> Segmenter | None:
        """Return the segmenter before where the running one is new and fails, else None. In the loop's thread."""
        with self._lock:
            if self._now.state != "watching" or self._before is None or self._before[1] is None:
                return None
            (name, segmenter), failed = self._before, self._running
            self._before, self._running = None, name
            self._set(replace(self._now, state="reverted", reason=reason))
        self.outcomes["reverted"] += 1
        self._told(f"bundle {failed} failed within its first {self._limits().watch_s:g} s: {reason}; {name} runs again")
        self._on_swap(name)
        running.close()
        return segmenter

    def started(self, bundle: str) -> None:
        """Name the bundle that the service has started with."""
        self._running = bundle

    def close(self) -> None:
        """End a trial, and close what does not run."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
            waiting = [self._next[1]] if self._next else []
            waiting += [self._before[1]] if self._before and self._before[1] else []
            self._next = self._before = None
        if self._thread is not None:
            self._thread.join(5)
        for segmenter in waiting:
            segmenter.close()

    def _begin(self, bundle: str, work: Callable[[str], None]) -> None:
        with self._lock:
            if self._now.state in ("loading", "shadow", "ready"):
                raise UsageError(f"{self._now.bundle} is tried already; wait until that has ended")
            self._set(SwapState("loading", bundle))
        self._thread = threading.Thread(target=self._guarded, args=(bundle, work), name="nanoseg-swap", daemon=True)
        self._thread.start()

    def _guarded(self, bundle: str, work: Callable[[str], None]) -> None:
        try:
            work(bundle)
        except _RefusedError as error:
            self._refuse(bundle, str(error))
        except NanosegError as error:
            self._refuse(bundle, str(error))
        except Exception as error:  # of a library, at a network that is broken
            self._refuse(bundle, f"{type(error).__name__}: {one_line(error)}")

    def _try(self, bundle: str) -> None:
        limits, before_mb = self._limits(), resident_mb()
        segmenter = self._load(bundle)
        try:
            added_mb = max(0.0, resident_mb() - before_mb)
            self._figures(memory_mb=round(added_mb))
            if added_mb > limits.memory_mb:
                raise _RefusedError(
                    f"it takes {added_mb:.0f} MB more; wanted at most {limits.memory_mb:g} (swap.memory_mb)"
                )
            self._compare(segmenter, limits)
        except BaseException:
            segmenter.close()
            raise
        self._ready(bundle, segmenter)

    def _put_back(self, bundle: str, segmenter: Segmenter | None) -> None:
        opened = segmenter or self._load(bundle)
        with self._lock:
            self._set(replace(self._now, reason="put back"))
        self._ready(bundle, opened)

    def _compare(self, segmenter: Segmenter, limits: SwapConfig) -> None:
        """Run the new bundle on live frames; raises _RefusedError unless it is as good."""
        comparison, end_s = Comparison(), time.monotonic() + SHADOW_S
        with self._lock:
            self._set(replace(self._now, state="shadow"))
        while comparison.frames < limits.frames:
            with self._lock:
                self._lock.wait_for(lambda: self._offer or self._closing, max(0.0, end_s - time.monotonic()))
                offered, self._offer = self._offer, None
            if offered is None:
                reason = "the service ends" if self._closing else f"no {limits.frames} frames with objects"
                raise _RefusedError(f"{reason} within {SHADOW_S:g} s")
            comparison.add(segmenter(offered[0]), offered[1])
            self._figures(**comparison.figures())
            # What cannot be made up for any more is not tried to its end.
            if fault := comparison.fault(limits, limits.frames):
                raise _RefusedError(fault)

    def _ready(self, bundle: str, segmenter: Segmenter) -> None:
        with self._lock:
            if self._closing:
                segmenter.close()
                return
            self._set(replace(self._now, state="ready"))
            self._next = bundle, segmenter

    def _refuse(self, bundle: str, reason: str) -> None:
        self.outcomes["refused"] += 1
        with self._lock:
            self._set(replace(self._now, state="refused", reason=reason))
        self._told(f"bundle {bundle} is refused: {reason}{_listed(self.state.figures)}")

    def _settle(self) -> None:
        """End the watch: the bundle before is closed, and loaded again where it is wanted back."""
        with self._lock:
            before, self._before = self._before, None
            if before is not None:
                self._before = before[0], None
            self._set(replace(self._now, state="idle"))
        if before is not None and before[1] is not None:
            before[1].close()

    def _figures(self, **figures: Any) -> None:
        with self._lock:
            self._set(replace(self._now, figures={**self._now.figures, **figures}))

    def _set(self, state: SwapState) -> None:
        self._now = state


class _RefusedError(Exception):
    """A bundle is not as good as the running one; the message says why."""


def _listed(figures: dict[str, Any]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in figures.items())})" if figures else ""
