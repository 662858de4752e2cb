"""The board's sensors read now and then, and trouble with heat, power and memory told."""

from __future__ import annotations

import time
from collections.abc import Callable

from nanoseg.service.board import BoardState, read_board

EVERY_S = 2.0
LOW_MEMORY_MB = 200.0


class BoardWatch:
    """The latest reading of the sensors."""

    def __init__(self, told: Callable[[str], None], read: Callable[[], BoardState] = read_board) -> None:
        """Take what tells a line of trouble."""
        self._told, self._read = told, read
        self._read_s = -EVERY_S
        self.state = BoardState()

    def poll(self) -> None:
        """Read the sensors if the last reading is older than EVERY_S."""
        now_s = time.monotonic()
        if now_s - self._read_s < EVERY_S:
            return
        first, before = self._read_s < 0, self.state
        self.state, self._read_s = self._read(), now_s
        if self.state.throttled:
            self._told("heat holds the clocks down; cool the board, or lower its power mode")
        if self.state.throttle_events > before.throttle_events and not first:
            self._told("over-current or under-voltage has throttled the board; look at its power supply")
        if self.state.available_mb is not None and self.state.available_mb < LOW_MEMORY_MB:
            self._told(f"less than {LOW_MEMORY_MB:g} MB of memory are left")
