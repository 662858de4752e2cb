"""The board's sensors and clock read now and then, with a line about trouble, and freed memory given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from nanoseg.errors import one_line
from nanoseg.service.board import BoardState, read_board
from nanoseg.utils.memory import give_back

EVERY_S = 2.0
GIVE_BACK_S = 60.0  # from one time that freed memory is given back to the next: else threads keep more and more of it
LOW_MEMORY_MB = 200.0
JUMP_S = 2.0  # by which the clock was set, to be told


class BoardWatch:
    """The latest reading of the sensors."""

    def __init__(
        self,
        told: Callable[[str], None],
        read: Callable[[], BoardState] = read_board,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Take what tells a line of trouble."""
        self._told, self._read, self._clock_s = told, read, clock_s
        self._read_s = -EVERY_S
        self._gave_back_s = time.monotonic()
        self._ahead_s = clock_s() - time.monotonic()  # of the clock that can be set
        self.state = BoardState()

    @property
    def low_memory(self) -> bool:
        """Whether so little memory is left that what can wait should not be started."""
        return self.state.available_mb is not None and self.state.available_mb < LOW_MEMORY_MB

    async def run(self) -> None:
        """Read the sensors again and again, in another thread: those of power answer over a slow bus."""
        while True:
            await asyncio.get_running_loop().run_in_executor(None, self.poll)
            await asyncio.sleep(EVERY_S)

    def poll(self) -> None:
        """Read the sensors if the last reading is older than EVERY_S, and now and then give memory back."""
        if time.monotonic() - self._read_s < EVERY_S:
            return
        first, before = self._read_s < 0, self.state
        try:
            self.state = self._read()
        except Exception as error:  # what was read last does not hold for ever
            self.state = BoardState(throttle_events=before.throttle_events)
            self._told(f"the board's sensors cannot be read: {type(error).__name__}: {one_line(error)}")
        self._read_s = now_s = time.monotonic()  # sensors may answer slowly
        jump_s = self._clock_s() - now_s - self._ahead_s
        if now_s - self._gave_back_s >= GIVE_BACK_S:
            self._gave_back_s = now_s
            give_back()
        if self.state.throttled:
            self._told("heat holds the clocks down; cool the board, or lower its power mode")
        if self.state.throttle_events > before.throttle_events and not first:
            self._told("over-current or under-voltage has throttled the board; look at its power supply")
        if self.low_memory:
            self._told(f"less than {LOW_MEMORY_MB:g} MB of memory are left; prompts and swaps are refused")
        if abs(jump_s) > JUMP_S:
            self._ahead_s += jump_s
            way = "forward" if jump_s > 0 else "back"
            self._told(f"the clock was set {way} by {abs(jump_s):.0f} s; times in records jump with it")
