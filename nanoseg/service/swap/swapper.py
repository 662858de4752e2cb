"""Gated hot swap: a new bundle runs on live frames beside the running one, and takes over only if it is as good."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from nanoseg.errors import NanosegError, UsageError, one_line
from nanoseg.service.swap.state import BUSY, OUTCOMES, State, SwapState
from nanoseg.service.swap.trial import LOOK_S, CancelledError, Feed, RefusedError, Trial, warm
from nanoseg.types import Detections, Frame

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle
    from nanoseg.segmenter import Segmenter
    from nanoseg.service.running_bundle import RunningBundle

CLOSE_S = 1.0  # for a trial to end with the service
_WARM_S = 5.0  # for live frames, before a bundle is put back


class Former(NamedTuple):
    """A bundle that ran before."""

    name: str
    segmenter: Segmenter | None = None  # None: it is closed
    bundle: Bundle | None = None  # what it was; None: not known, as it ran before the service's start


@dataclass
class _Offer:
    """A segmenter for the loop to take between two frames."""

    name: str
    segmenter: Segmenter
    then: State
    replaced: Former | None = None  # what ran until the loop took it
    error: NanosegError | None = None  # why the loop did not take it


class Swapper:
    """Tries bundles, one at a time, each in a thread; the loop of frames asks it between two frames what to run."""

    def __init__(self, bundle: RunningBundle, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            bundle: what the service runs.
            clock: seconds.
        """
        self._bundle, self._running, self._clock = bundle, bundle.running, clock
        self.outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
        self._changed = threading.Condition()
        self._now = SwapState()
        self._feed: Feed | None = None  # of the trial
        self._offer: _Offer | None = None
        self._former = Former(bundle.before) if bundle.before else None
        self._watch_end_s = 0.0
        self._closing = False
        self._told_to_end = False
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> SwapState:
        """Where the latest swap stands."""
        return self._now

    def start(self, bundle: str) -> int:
        """Start to try a bundle, from any thread; returns the swap's number.

        Raises:
            UsageError: another one is tried, or watched.
        """
        with self._changed:
            return self._begin(bundle, partial(self._swap, bundle))

    def undo(self) -> int:
        """Put the bundle before back without a trial, or call a trial off. From any thread; returns the swap's number.

        Raises:
            UsageError: none ran before.
        """
        with self._changed:
            now, former = self._now, self._former
            if now.state in ("loading", "shadow") and self._feed is not None:
                self._feed.end("it was called off")
                return now.number
            if former is None:
                raise UsageError("no bundle ran before this one")
            if now.state == "watching" and former.segmenter is not None:
                self._set(SwapState(now.number + 1, "loading", former.name))  # the thread that watches goes on
                return self._now.number
            return self._begin(former.name, partial(self._put_back, former))

    def call_off(self, bundle: str) -> None:
        """End the trial of a bundle, where that is under way. From any thread."""
        with self._changed:
            if self._now.bundle == bundle and self._now.state in ("loading", "shadow") and self._feed is not None:
                self._feed.end("the configuration does not name it any more")

    def offer(self, frame: Frame, found: Detections) -> None:
        """Show the trial a frame with what the running bundle found; never waits. In the loop's thread.

        Args:
            frame: with its true pixels, which do not change any more.
            found: all objects, at which the new bundle has to be as good.
        """
        if (feed := self._feed) is not None:
            feed.put(frame, found)

    def take(self, running: Segmenter) -> Segmenter | None:
        """Return the segmenter to run from now on, or None for the same. In the loop's thread, between two frames."""
        if self._offer is None:
            return None
        with self._changed:
            offer, self._offer = self._offer, None
            if offer is None:  # the service ends
                return None
            try:
                self._bundle.fit(offer.name, offer.segmenter)
            except NanosegError as error:
                offer.error = error
                self._changed.notify_all()
                return None
            offer.replaced = Former(self._running, running, running.bundle)
            self._former = offer.replaced if offer.then == "watching" else offer.replaced._replace(segmenter=None)
            self._running = offer.name
            self._watch_end_s = self._clock() + self._bundle.limits().watch_s
            self._set(replace(self._now, state=offer.then))
            self.outcomes["swapped" if offer.then == "watching" else offer.then] += 1
        self._bundle.swapped(offer.name)
        self._bundle.told(f"{self._now}: it runs from now on")
        return offer.segmenter

    def revert(self, reason: str) -> Segmenter | None:
        """Return the segmenter before where the running one is new and fails, else None. In the loop's thread."""
        with self._changed:
            former, failed = self._former, self._running
            if self._now.state != "watching" or former is None or former.segmenter is None:
                return None
            try:
                self._bundle.fit(former.name, former.segmenter)
            except NanosegError as error:
                self._bundle.told(f"bundle {failed} fails, and {former.name} cannot be put back: {error}")
                return None
            self._running, self._former = former.name, None
            self._set(replace(self._now, state="reverted", reason=reason))
            self.outcomes["reverted"] += 1
        self._bundle.swapped(former.name)
        self._bundle.told(f"bundle {failed} fails soon after it was swapped in: {reason}; {former.name} runs again")
        return former.segmenter

    def end(self, *, told: bool) -> None:
        """End a trial or a watch, without waiting for that.

        Args:
            told: whether the service was told to end. Where it was not, a bundle that is watched has failed: the next
                start puts the one before back.
        """
        with self._changed:
            self._closing, self._told_to_end = True, told
            if self._feed is not None:
                self._feed.end("the service ends")
            self._changed.notify_all()

    def close(self) -> None:
        """Close what does not run. Once the loop has ended, and after `end`."""
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _begin(self, bundle: str, work: Callable[[], None]) -> int:
        now = self._now
        if now.state == "watching":
            left_s = max(0.0, self._watch_end_s - self._clock())
            raise UsageError(f"{now.bundle} is new, and watched for another {left_s:.0f} s; wait, or undo it")
        if now.state in BUSY:
            raise UsageError(f"{now.bundle} is tried already; wait until that has ended, or undo it")
        if self._closing:
            raise UsageError("the service ends")
        self._set(SwapState(now.number + 1, "loading", bundle))
        self._feed = Feed(self._clock)
        self._thread = threading.Thread(target=self._run, args=(work,), name="nanoseg-swap", daemon=True)
        self._thread.start()
        return self._now.number

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except CancelledError as error:
            self._end("cancelled", str(error))
        except (RefusedError, NanosegError) as error:
            self._end("refused", str(error))
        except Exception as error:  # of a library, at a network that is broken
            self._end("refused", f"{type(error).__name__}: {one_line(error)}")

    def _swap(self, bundle: str) -> None:
        host, feed = self._bundle, self._feed
        assert feed is not None
        estimate_mb, load = partial(host.estimate_mb, bundle), partial(host.load, bundle)
        fit = partial(host.fit_for_trial, bundle)
        trial = Trial(host.limits(), estimate_mb, load, fit, self._show, feed, self._clock)
        segmenter = trial.load()
        try:
            self._set(replace(self._now, state="shadow"))
            trial.compare(segmenter)
        except BaseException:
            self._close(segmenter)
            raise
        self._watch(bundle, segmenter, self._exchange(bundle, segmenter, "watching"))

    def _watch(self, bundle: str, segmenter: Segmenter, former: Former) -> None:
        """Keep the bundle before at hand until the new one has proved itself, or has not."""
        self._bundle.keep(bundle, former.name, watched=True)
        with self._changed:
            while self._now.state == "watching" and not self._closing and self._clock() < self._watch_end_s:
                self._changed.wait(LOOK_S)
            outcome = self._now.state
            if outcome != "reverted":
                self._former = former._replace(segmenter=None)
        assert former.segmenter is not None
        if outcome == "reverted":
            self._close(segmenter)
            self._bundle.keep(former.name, "", watched=False)
        elif outcome == "loading":  # it is to be undone
            try:
                self._replace(former.name, former.segmenter)
            except NanosegError:
                self._bundle.keep(bundle, former.name, watched=False)
                raise
        else:
            self._close(former.segmenter)
            if not self._closing or self._told_to_end:
                self._bundle.keep(bundle, former.name, watched=False)
            self._set(replace(self._now, state="swapped"))

    def _put_back(self, former: Former) -> None:
        segmenter, feed = self._bundle.load(former.name), self._feed
        assert feed is not None
        try:
            if former.bundle is not None and segmenter.bundle != former.bundle:
                advice = f"nanoseg service swap {former.name} tries what is there now"
                raise RefusedError(f"its files are not those of the bundle that ran before; {advice}")
            warm(segmenter, feed, partial(self._bundle.fit_for_trial, former.name), self._clock() + _WARM_S)
        except BaseException:
            self._close(segmenter)
            raise
        self._replace(former.name, segmenter)

    def _replace(self, name: str, segmenter: Segmenter) -> None:
        """Let the loop run another segmenter, and close the one that ran."""
        replaced = self._exchange(name, segmenter, "undone")
        self._bundle.keep(name, replaced.name, watched=False)
        assert replaced.segmenter is not None
        self._close(replaced.segmenter)

    def _exchange(self, name: str, segmenter: Segmenter, then: State) -> Former:
        """Return what the loop ran until it took a segmenter; raises where it does not, and closes that."""
        offer = _Offer(name, segmenter, then)
        with self._changed:
            self._feed, self._offer = None, offer
            self._set(replace(self._now, state="ready"))
            self._changed.wait_for(lambda: offer.replaced or offer.error or self._closing)
            self._offer = None
        if offer.replaced is not None:
            return offer.replaced
        self._close(segmenter)
        raise offer.error or CancelledError("the service ends")

    def _end(self, state: State, reason: str) -> None:
        with self._changed:
            self._feed = None
            self._set(replace(self._now, state=state, reason=reason))
            self.outcomes[state] += 1
        self._bundle.told(f"{self._now}")

    def _close(self, segmenter: Segmenter) -> None:
        try:
            segmenter.close()
        except NanosegError as error:
            self._bundle.told(f"bundle {segmenter.bundle.name} cannot be closed: {error}")

    def _show(self, figures: Mapping[str, Any]) -> None:
        with self._changed:
            self._set(replace(self._now, figures={**self._now.figures, **figures}))

    def _set(self, state: SwapState) -> None:
        with self._changed:
            self._now = state
            self._changed.notify_all()
