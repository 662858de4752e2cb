"""The clocks of a live source: its rate, and a time of its frames that only goes on."""

from __future__ import annotations

from collections import deque

_JUMP_NS = 10_000_000_000


class Rate:
    """Frames a second, over the last seconds."""

    def __init__(self, window_s: float = 5.0) -> None:
        """Start with no frame."""
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=2000)

    def add(self, now_s: float) -> None:
        """Take a frame."""
        self._times.append(now_s)
        while now_s - self._times[0] > self._window_s and len(self._times) > 2:
            self._times.popleft()

    def read(self) -> float | None:
        """Return the rate; None where it is not known."""
        if len(self._times) < 2:
            return None
        seconds = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / seconds if seconds > 0 else None  # all at once

    def clear(self) -> None:
        """Forget the frames: the source is lost."""
        self._times.clear()


class MediaClock:
    """Times of a source's frames: from 0, on through losses, at its own clock's pace, unless that is set."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._now_ns = 0
        self._last: tuple[int, int | None] | None = None  # arrival, the source's clock

    def read(self, arrived_ns: int, media_ns: int | None) -> int:
        """Return the time of the next frame in nanoseconds.

        Args:
            arrived_ns: when it arrived, of a monotonic clock.
            media_ns: the source's clock; None where it has none.
        """
        if self._last is not None:
            step_ns = arrived_ns - self._last[0]
            if media_ns is not None and self._last[1] is not None:
                own_ns = media_ns - self._last[1]
                if 0 <= own_ns <= step_ns + _JUMP_NS:  # else it was set, or has begun anew
                    step_ns = own_ns
            self._now_ns += step_ns
        self._last = arrived_ns, media_ns
        return self._now_ns

    def restart(self) -> None:
        """The source is opened again: its clock may have another zero."""
        if self._last is not None:
            self._last = self._last[0], None
