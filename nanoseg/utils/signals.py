"""Signals that end a command: SIGTERM and SIGHUP do what Ctrl-C does, and files are closed before it ends.

Only the command line installs handlers; in a program that uses nanoseg as a library `uninterrupted` does nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# A terminal that closes, or systemd, sends several signals at once, and people press Ctrl-C twice.
CLOSING_S = 30.0
_PATIENCE = f"nanoseg: closing the files; a signal after {CLOSING_S:.0f} s ends at once\n".encode()


class EndingSignals:
    """The first signal raises KeyboardInterrupt in the main thread; for CLOSING_S seconds later ones are ignored."""

    def __init__(self) -> None:
        """Take no signal yet; see `handle_ending_signals`."""
        self.received: int | None = None  # number of the first signal
        self._received_s = 0.0
        self._depth = 0  # of `uninterrupted` blocks in the main thread
        self._pending = False

    def handle(self, number: int, _: FrameType | None) -> None:
        """Take a signal."""
        now_s = time.monotonic()
        if self.received is not None and now_s - self._received_s < CLOSING_S:
            if number == signal.SIGINT:
                os.write(2, _PATIENCE)  # print() may be under way in the code that was interrupted
            return
        first = self.received is None
        self.received, self._received_s = self.received or number, now_s
        self._pending = first and self._depth > 0
        if not self._pending:
            raise KeyboardInterrupt

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Put off the first signal to the end of the outermost block; an error raised there goes first.

        In other threads than the main one, where signals never arrive, it does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending and not self._depth:
            self._pending = False
            raise KeyboardInterrupt


_installed: EndingSignals | None = None


@contextmanager
def handle_ending_signals() -> Iterator[EndingSignals]:
    """Handle the signals that end a command; afterwards the handlers are what they were, or what replaced them within.

    Ignored ones stay ignored: nohup ignores SIGHUP, a shell's background jobs SIGINT. Within another such block the
    outer one goes on.
    """
    global _installed
    if _installed is not None:
        yield _installed
        return
    signals, previous = EndingSignals(), {}
    _installed = signals
    try:
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, signals.handle)
        yield signals
    finally:
        _installed = None
        for number, handler in previous.items():
            if signal.getsignal(number) == signals.handle:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a step finish, such as the writing of a frame: a signal within it raises KeyboardInterrupt after it.

    Not for what may wait for long, such as a pipe.
    """
    if _installed is None:
        yield
        return
    with _installed.uninterrupted():
        yield
