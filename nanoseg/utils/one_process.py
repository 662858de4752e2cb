"""Objects that belong to the process that made them: networks, their threads and their device memory."""

from __future__ import annotations

import os
import threading
from typing import NoReturn

from nanoseg.errors import EngineError, UsageError

_ADVICE = "call nanoseg.load in the process that uses it, in a worker's initializer for example"


class ProcessLock:
    """A lock of one process: in a child of its fork it is an error, where a plain lock may be held for ever.

    A fork copies a lock as it is, without the thread that would release it, and a network without its threads.
    """

    def __init__(self) -> None:
        self._lock, self._pid = threading.Lock(), os.getpid()

    def check(self) -> None:
        """Raise EngineError in another process than the one that made this."""
        if os.getpid() != self._pid:
            raise EngineError(f"this segmenter was loaded before a fork, and works in its own process alone; {_ADVICE}")

    def __enter__(self) -> None:
        self.check()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class NotPicklable:
    """Base of classes that can neither be pickled nor copied."""

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise UsageError(f"a {type(self).__name__} cannot be pickled or copied to another process; {_ADVICE}")
