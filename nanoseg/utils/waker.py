"""A descriptor that becomes readable when another thread wants attention."""

from __future__ import annotations

import os
import threading


class Waker:
    """Wake a thread that waits in a selector."""

    def __init__(self) -> None:
        """Open a pipe; `close` closes it."""
        self._descriptor, self._writer = os.pipe()
        self._lock, self._closed = threading.Lock(), False

    def fileno(self) -> int:
        """Return the descriptor that is waited for."""
        return self._descriptor

    def wake(self) -> None:
        """Make the descriptor readable, for good; from any thread, also when it is closed."""
        with self._lock:
            if not self._closed:
                os.write(self._writer, b"x")

    def close(self) -> None:
        """Close the pipe."""
        with self._lock:
            self._closed = True
            os.close(self._descriptor)
            os.close(self._writer)
