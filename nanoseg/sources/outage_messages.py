"""What is told of a camera: a line when it is lost and one when it is back, few of one that comes and goes."""

from __future__ import annotations

from collections.abc import Callable

SETTLED_S = 10.0  # frames that come for less do not end an outage
_LONGEST_S = 600.0
_SOON_S = 60.0  # an outage so soon after another: the next must be over for longer to be over


class OutageMessages:
    """Decide which line is told when.

    An outage is over when frames have come for a while. It is told when it begins, and when the first frame comes;
    where the source is lost again before it is over, that is told once, and the return when it is over.
    All times are seconds of one monotonic clock.
    """

    def __init__(self, name: str, now_s: float, on_message: Callable[[str], None]) -> None:
        """Start with a source that is not open yet.

        Args:
            name: the source's.
            now_s: the time.
            on_message: called with each line.
        """
        self._name, self._on_message = name, on_message
        self._seen = self._live = False
        self._outage_s = self._live_s = now_s  # when the outage and the last return began
        self._settled_s = SETTLED_S
        self._relapsed = self._told_lost = self._told_back = self._told_relapse = False
        self._changed = ""

    def lost(self, now_s: float, reason: str) -> None:
        """Take note that the source is lost, or could not be opened."""
        if self._live:
            self._live, since_s = False, now_s - self._live_s
            if since_s < self._settled_s and self._told_lost:
                self._relapsed = True
            else:
                soon = self._seen and since_s < self._settled_s + _SOON_S
                self._settled_s = min(2 * self._settled_s, _LONGEST_S) if soon else SETTLED_S
                self._outage_s = now_s
                self._relapsed = self._told_lost = self._told_back = self._told_relapse = False
            self._seen = True
        if not self._told_lost:
            self._told_lost = True
            what = "lost" if self._seen else "cannot be opened yet"
            self._on_message(f"{self._name}: {what}: {reason}; trying again until it is there")
        elif self._told_back and not self._told_relapse:
            self._told_relapse, self._told_back = True, False
            self._on_message(f"{self._name}: comes and goes: {reason}; opening it again each time")

    def live(self, now_s: float, changed: str = "") -> None:
        """Take note of a frame.

        Args:
            now_s: the time.
            changed: what is not as it was before the source was lost, such as its size.
        """
        if not self._live:
            self._live, self._live_s = True, now_s
        self._changed = changed or self._changed
        if not self._told_lost or self._told_back or (self._relapsed and now_s - self._live_s < self._settled_s):
            return
        self._told_back = True
        changed, self._changed = f"; {self._changed}" if self._changed else "", ""
        what = "back" if self._seen else "open"
        self._on_message(f"{self._name}: {what} after {self._live_s - self._outage_s:.1f} s{changed}")
