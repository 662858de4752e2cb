"""When a camera counts as lost, and when it is tried again: times and events in, decisions out, no I/O.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from statistics import median

UNKNOWN_S = 40.0  # silence of a source whose rate is not known yet: some give a frame every 30 s
MIN_SILENCE_S = 3.0
PROCESS_S = 20.0  # for a process to start and load its libraries, on a small board with a slow disk
MIN_OPENING_S = 3.5
FIRST_OPENING_S = 10.0  # from one keyframe to the next, of some cameras
CLOSING_S = 2.0
_PAUSES_S = (0.25, 0.5, 1.0, 2.0)
_LONG_OUTAGE_S, _LONG_PAUSE_S = 300.0, 3.0
_SETTLED_S = 5.0  # frames that come for less do not end an outage
_BUCKET_S, _BUCKETS = 10.0, 30  # the longest interval of the last five minutes
_USUAL = 3  # pauses in so many of those buckets are the source's nature
_LATEST = 30  # intervals
_LATE = 8  # openings
_SLOWEST = 8.0  # times
_KNOWN = 3  # intervals after which a rate is known, and openings

Fingerprint = tuple[int, "int | None"]  # checksums of some pixels, and of all where they were computed


class Intervals:
    """The silence after which a source is lost, learnt from the intervals between its frames."""

    def __init__(self) -> None:
        """Start with no interval."""
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._longest: deque[tuple[float, float]] = deque(maxlen=_BUCKETS)  # from when, the longest since

    def add(self, now_s: float, interval_s: float) -> None:
        """Take the interval that ended now."""
        self._latest.append(interval_s)
        if self._longest and now_s - self._longest[-1][0] < _BUCKET_S:
            since_s, longest_s = self._longest[-1]
            self._longest[-1] = (since_s, max(longest_s, interval_s))
        else:
            self._longest.append((now_s, interval_s))

    def silence_s(self) -> float:
        """Return how long no frame may come: eight usual intervals, or more than the pauses that come again and again.

        One that came once or twice in five minutes was an outage: who waits for the next so long finds a source that
        hangs late.
        """
        if len(self._latest) < _KNOWN:
            return UNKNOWN_S
        longest_s = sorted((longest for _, longest in self._longest), reverse=True)
        pause_s = longest_s[_USUAL - 1] if len(longest_s) >= _USUAL else 0.0
        return max(MIN_SILENCE_S, 8 * median(self._latest), 1.5 * pause_s)


class ProcessStarts:
    """How slow the machine is now, by the time that capture processes take to start.

    Where it has too much to do, attempts that are given up early, and their new processes, would leave it no time for
    any that succeeds.
    """

    def __init__(self) -> None:
        """Start with no process."""
        self._fastest_s: float | None = None

    def add(self, start_s: float) -> float:
        """Take a start; returns how many times slower it was than the fastest, from 1 to 8."""
        start_s = max(start_s, 1e-3)
        self._fastest_s = start_s if self._fastest_s is None else min(self._fastest_s, start_s)
        return min(start_s / self._fastest_s, _SLOWEST)


class FrozenPicture:
    """Whether a picture is the one before, and for how long it has been."""

    def __init__(self, limit_s: float) -> None:
        """Allow the same picture for `limit_s` seconds; 0: for ever, and it counts as fresh."""
        self._base_s = self._limit_s = limit_s
        self._last: Fingerprint | None = None
        self._since_s = 0.0
        self._frozen = False  # it was reopened for it, and no frame has come since

    def is_fresh(self, now_s: float, fingerprint: Fingerprint) -> bool:
        """Take a frame."""
        if not self._base_s:
            return True
        same = _same(self._last, fingerprint)
        self._last = fingerprint
        if self._frozen:
            # The very same after reopening: the scene stands still. Another one: the picture was frozen indeed.
            self._limit_s = 2 * self._limit_s if same else self._base_s
            self._frozen, self._since_s = False, now_s
        elif not same:
            self._since_s = now_s
        return not same

    def is_lost(self, now_s: float) -> bool:
        """Return whether the same picture has come for too long."""
        return bool(self._base_s) and self._last is not None and now_s - self._since_s >= self._limit_s

    @property
    def limit_s(self) -> float:
        """How long the same picture may come."""
        return self._limit_s

    def reopen(self) -> None:
        """Take note that the source is opened again because of it."""
        self._frozen = True

    def restart(self, now_s: float) -> None:
        """Count from now: the source was away."""
        self._since_s = now_s


def _same(one: Fingerprint | None, other: Fingerprint) -> bool:
    return one is not None and one[0] == other[0] and one[1] is not None and one[1] == other[1]


class Do(Enum):
    """What the owner of a watchdog does next."""

    NOTHING = 0
    OPEN = 1  # the source, in its process, or in a new one where there is none
    KILL = 2  # the process


class Phase(Enum):
    """Where a source stands."""

    PAUSE = 0  # until it is opened
    OPENING = 1
    STARTING = 2  # opened, without a frame
    LIVE = 3
    CLOSING = 4


class Watchdog:
    """The state of a source between its loss and its return."""

    def __init__(self, now_s: float, timeout_s: float | None = None, frozen_s: float = 60.0) -> None:
        """Start with a source that is to be opened at once.

        Args:
            now_s: the time.
            timeout_s: silence after which it is lost; None: learnt from its frames.
            frozen_s: the same picture for so long counts as lost; 0: never.
        """
        self.phase, self.reason = Phase.PAUSE, ""
        self._timeout_s, self._intervals, self._frozen = timeout_s, Intervals(), FrozenPicture(frozen_s)
        self._deadline_s = self._since_s = now_s  # of the phase; when it began
        self._lost_s = now_s  # when the outage began
        self._attempt_s = now_s  # when it was last opened
        self._try_s = now_s  # when it is to be opened
        self._live_s = now_s  # when frames came again
        self._attempts = 0  # in this outage
        self._unopened = self._silent = 0  # attempts that were not opened in time, or gave no frame, on end
        # Of late: until it was opened, and then until the first frame. One that met a fault does not count for ever.
        self._starts, self._slowness = ProcessStarts(), 1.0
        self._opening_s, self._starting_s = deque([0.0], maxlen=_LATE), deque([0.0], maxlen=_LATE)
        self._openings = 0  # that led to frames

    @property
    def deadline_s(self) -> float:
        """When `tick` is to be called at the latest."""
        return self._deadline_s

    def tick(self, now_s: float) -> Do:
        """Return what is to be done now."""
        if now_s < self._deadline_s:
            return Do.NOTHING
        if self.phase is Phase.PAUSE:
            self._attempts, self._attempt_s = self._attempts + 1, now_s
            self._enter(Phase.OPENING, now_s, PROCESS_S)
            return Do.OPEN
        waited = f"{now_s - self._since_s:.1f} s"
        if self.phase is Phase.OPENING:
            self._unopened += 1
            self._lose(now_s, f"not opened after {waited}")
        elif self.phase is Phase.STARTING:
            self._silent += 1
            self._lose(now_s, f"opened, but no frame came for {waited}")
        elif self.phase is Phase.LIVE:
            self._lose(now_s, f"no frame for {waited}")
        self.ended(now_s)
        return Do.KILL

    def started(self, now_s: float, new: bool = False) -> None:
        """Take note that the process is opening the source; `new`: it had to start, and load its libraries, first."""
        if self.phase is Phase.OPENING:
            if new:
                self._slowness = self._starts.add(now_s - self._since_s)
            self._enter(Phase.OPENING, now_s, self._opening_limit_s())

    def opened(self, now_s: float) -> None:
        """Take note that the source is open."""
        if self.phase is Phase.OPENING:
            self._opening_s.append(now_s - self._since_s)
            self._enter(Phase.STARTING, now_s, self._starting_limit_s())

    def frame(self, now_s: float, fingerprint: Fingerprint) -> bool:
        """Take a frame and return whether it is fresh: not the picture before."""
        if self.phase is Phase.STARTING:
            self._starting_s.append(now_s - self._since_s)
            self._openings += 1
            self._unopened, self._silent, self._live_s = 0, 0, now_s
            self._frozen.restart(now_s)
        elif self.phase is Phase.LIVE:
            self._intervals.add(now_s, now_s - self._since_s)
        else:
            return False
        fresh = self._frozen.is_fresh(now_s, fingerprint)
        self._enter(Phase.LIVE, now_s, self._timeout_s or self._intervals.silence_s())
        if self._frozen.is_lost(now_s):
            self._frozen.reopen()
            self._lose(now_s, f"the same picture for {self._frozen.limit_s:.0f} s")
            self._deadline_s = now_s  # its process is not trusted
        return fresh

    def lost(self, now_s: float, reason: str) -> None:
        """Take note that the source is lost and is being closed."""
        self._lose(now_s, reason)

    def ended(self, now_s: float, reason: str = "") -> None:
        """Take note that the source is closed, or that its process has ended."""
        if self.phase not in (Phase.CLOSING, Phase.PAUSE):
            self._lose(now_s, reason)
        self.phase, self._deadline_s = Phase.PAUSE, max(self._try_s, now_s)

    def _lose(self, now_s: float, reason: str) -> None:
        if self.phase is Phase.LIVE and now_s - self._live_s >= _SETTLED_S:  # else the outage before goes on
            self._lost_s, self._attempts = now_s, 0
        self.reason = reason
        pause_s = _PAUSES_S[min(self._attempts, len(_PAUSES_S) - 1)]
        if now_s - self._lost_s > _LONG_OUTAGE_S:
            pause_s = _LONG_PAUSE_S
        # An attempt that took long was a pause itself.
        self._try_s = max(now_s + _PAUSES_S[0], (now_s if self.phase is Phase.LIVE else self._attempt_s) + pause_s)
        self._enter(Phase.CLOSING, now_s, CLOSING_S)

    def _enter(self, phase: Phase, now_s: float, limit_s: float) -> None:
        self.phase, self._since_s, self._deadline_s = phase, now_s, now_s + limit_s

    def _opening_limit_s(self) -> float:
        if not self._openings and self._timeout_s is None:
            return UNKNOWN_S
        margin = 3 if self._openings >= _KNOWN else 2  # the first opening is slow by itself
        limit_s = self._slowness * max(self._least_s(), self._timeout_s or 0.0, margin * max(self._opening_s))
        # What hangs in the network is best tried anew; once in a while it is waited for, in case it became slow.
        return min(4 * limit_s, max(UNKNOWN_S, limit_s)) if self._unopened % 64 == 16 else limit_s

    def _starting_limit_s(self) -> float:
        silence_s = self._timeout_s or self._intervals.silence_s()
        limit_s = self._slowness * max(self._least_s(), silence_s, 3 * max(self._starting_s))
        # It is there: it may be a long time from one keyframe to the next.
        return min(2.0**self._silent * limit_s, max(UNKNOWN_S, limit_s))

    def _least_s(self) -> float:
        """The first openings may have met a keyframe at once: at first every second attempt waits for one."""
        return FIRST_OPENING_S if self._openings < _KNOWN and (self._unopened + self._silent) % 2 else MIN_OPENING_S
