"""The moment of capture of a stream's frames, from the source's clock where it can be trusted, else from their arrival.

A frame has three times: that of its arrival here, jittered by network and scheduling; its media time, which runs evenly
but from an unknown zero; and, where the source sends RTCP reports, the time of its own clock, which may never have been
set. A source's clock is believed while the youngest of its latest frames has a plausible age. Otherwise the frame that
came the fastest tells the zero of the media time, so that jitter and jams show as age, and only the shortest way is
taken for none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MS, _S = 1_000_000, 1_000_000_000
MIN_AGE_NS, MAX_AGE_NS = -50 * _MS, 10 * _S  # of a frame of a clock that is synchronised
WINDOW_NS, WINDOW_FRAMES = 10 * _S, 8  # that the smallest value is taken of, at least; both must be over


@dataclass
class RecentMinimum:
    """The smallest of the latest values: of one to two windows, so that a drift is followed."""

    _current: int | None = None
    _before: int | None = None
    _begin_ns: int = 0
    _count: int = 0

    def add(self, value: int, now_ns: int) -> int:
        """Add a value and return the smallest."""
        if self._current is None or (now_ns - self._begin_ns >= WINDOW_NS and self._count >= WINDOW_FRAMES):
            self._before, self._current, self._begin_ns, self._count = self._current, value, now_ns, 0
        self._current, self._count = min(self._current, value), self._count + 1
        return self._current if self._before is None else min(self._current, self._before)

    def restart(self, value: int, now_ns: int) -> int:
        """Forget all values but this one."""
        self._current = self._before = None
        return self.add(value, now_ns)


@dataclass
class StreamClock:
    """Tell when the frames of one opening of a stream were captured."""

    source: str = "arrival"  # where the last answer came from: "source", or "arrival"
    lag_ns: int = 0  # how much later than the fastest one, by media time, the last frame came
    _offset: RecentMinimum = field(default_factory=RecentMinimum)  # arrival - media time
    _age: RecentMinimum = field(default_factory=RecentMinimum)  # arrival - the source's time

    def captured_ns(self, arrival_ns: int, wall_ns: int, media_ns: int | None, sender_ns: int | None) -> int:
        """Return the moment of capture of a frame, in nanoseconds of this machine's wall clock.

        Args:
            arrival_ns: time.monotonic_ns() when it arrived.
            wall_ns: time.time_ns() at that moment.
            media_ns: its media time, from any zero; None where there is none.
            sender_ns: its time by the source's wall clock; None where it does not tell.
        """
        self.lag_ns = self._lag(arrival_ns, media_ns)
        smooth_ns = wall_ns - self.lag_ns
        self.source = "arrival"
        if sender_ns is None:
            return smooth_ns
        age_ns = wall_ns - sender_ns
        youngest_ns = self._age.add(age_ns, arrival_ns)
        if youngest_ns < MIN_AGE_NS <= age_ns or age_ns - youngest_ns > MAX_AGE_NS:  # one of the clocks was set
            youngest_ns = self._age.restart(age_ns, arrival_ns)
        if not MIN_AGE_NS <= youngest_ns <= MAX_AGE_NS:
            return smooth_ns
        self.source = "source"
        return min(sender_ns, wall_ns)

    def _lag(self, arrival_ns: int, media_ns: int | None) -> int:
        if media_ns is None:
            return 0
        offset_ns = arrival_ns - media_ns
        lag_ns = offset_ns - self._offset.add(offset_ns, arrival_ns)
        if lag_ns > MAX_AGE_NS:  # the media time jumped back, or forth for a moment
            self._offset.restart(offset_ns, arrival_ns)
            return 0
        return lag_ns
