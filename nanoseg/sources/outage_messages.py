"""What is told of a camera: one line when it is lost, one when it is back, also where it comes and goes."""

from __future__ import annotations

from collections.abc import Callable

_SETTLED_S = 10.0  # a return that lasts less was none
_REPEAT_S = 60.0  # a source that comes and goes is told of so often


class OutageMessages:
    """Decide when which line is told. All times are seconds of one monotonic clock."""

    def __init__(self, name: str, now_s: float, on_message: Callable[[str], None]) -> None:
        """Start with a source that is not open yet.

        Args:
            name: the source's.
            now_s: the time.
            on_message: called with each line.
        """
        self._name, self._on_message = name, on_message
        self._told_lost = False
        self._live = False
        self._was_live = False
        self._lost_s = now_s
        self._live_s = 0.0
        self._told_s = -_REPEAT_S  # when the last line about coming and going was told
        self._flapping = False
        self._changed = ""

    def lost(self, now_s: float, reason: str) -> None:
        """Take note that the source is lost, or could not be opened."""
        if self._live:
            self._live, again = False, now_s - self._live_s < _SETTLED_S and self._lost_s < self._live_s
            if not (again and self._told_lost):  # else the outage before goes on
                self._flapping = again and self._was_live
                self._lost_s = now_s
            self._was_live = True
        if self._told_lost:
            return
        if self._flapping and now_s - self._told_s < _REPEAT_S:
            return
        self._told_lost, self._told_s = True, now_s
        if not self._was_live:
            self._on_message(f"{self._name}: cannot be opened yet: {reason}; trying on")
        elif self._flapping:
            self._on_message(f"{self._name}: comes and goes: {reason}; opening it again each time")
        else:
            self._on_message(f"{self._name}: lost: {reason}; trying to open it again")

    def live(self, now_s: float, changed: str = "") -> None:
        """Take note of a frame.

        Args:
            now_s: the time.
            changed: what is not as it was before the source was lost, such as its size.
        """
        if not self._live:
            self._live, self._live_s = True, now_s
            self._changed = changed or self._changed
        if self._told_lost and now_s - self._live_s >= (_SETTLED_S if self._flapping else 0.0):
            away = f" after {self._live_s - self._lost_s:.1f} s"
            changed = f"; {self._changed}" if self._changed else ""
            self._on_message(f"{self._name}: {'back' if self._was_live else 'open'}{away}{changed}")
            self._told_lost, self._flapping, self._changed = False, False, ""
