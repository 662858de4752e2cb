"""TensorRT's error messages, kept for the messages of nanoseg's errors; by default TensorRT writes them to stderr."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any, Protocol
from weakref import WeakKeyDictionary

MAX_LENGTH = 300  # characters of a joined message; the library's errors name its own source files
_MAX_MESSAGES = 64  # an engine that fails at every frame may do so for months
_LOGGERS: WeakKeyDictionary[Any, tuple[Any, ErrorLog]] = WeakKeyDictionary()  # by module
_LOCK = threading.Lock()


class _MessageSink(Protocol):
    def append(self, message: str, /) -> None: ...


def make_logger(api: Any, messages: _MessageSink) -> Any:
    """Return an ILogger of `api`, any TensorRT module, that appends errors to `messages` and drops the rest."""
    base = api.ILogger
    errors = (base.ERROR, base.INTERNAL_ERROR)

    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in errors:
                messages.append(msg)

    return Logger()


class ErrorLog:
    """The last errors that TensorRT logged, each with the thread that it was logged in.

    All engines share one logger, and other Python threads go on while TensorRT works: a message may be about another
    thread's engine. TensorRT logs what a call finds wrong by itself in the thread of that call. It also has threads of
    its own, to load and to compile; which call their messages belong to cannot be known.
    """

    def __init__(self) -> None:
        self._numbers = count(1)  # next() of it cannot be interrupted by another thread; nor can deque.append()
        self._last: deque[tuple[int, int, str]] = deque(maxlen=_MAX_MESSAGES)  # (number, thread, message)

    def append(self, message: str) -> None:
        """Add a message of the current thread."""
        self._last.append((next(self._numbers), threading.get_ident(), message))

    def mark(self) -> int:
        """Return a mark of this moment, for the functions below."""
        return next(self._numbers)

    def own_messages(self, mark: int) -> list[str]:
        """Return what was logged in this thread after a mark."""
        this = threading.get_ident()
        return [message for number, thread, message in list(self._last) if number > mark and thread == this]

    def reason(self, mark: int) -> str:
        """Return one line on why a call that began at `mark` failed: this thread's messages, else all threads'."""
        anyones = [message for number, _, message in list(self._last) if number > mark]
        return join_messages(self.own_messages(mark) or anyones)


def shared_logger(api: Any) -> tuple[Any, ErrorLog]:
    """Return the logger of every runtime of `api` in this process, and the log that it fills.

    There is one, because TensorRT keeps "only a single logger pointer at any given time" while a runtime lives, and
    sends the messages of a second engine to the logger of the first.
    """
    with _LOCK:
        if api not in _LOGGERS:
            log = ErrorLog()
            _LOGGERS[api] = (make_logger(api, log), log)
        return _LOGGERS[api]


def join_messages(messages: Sequence[str]) -> str:
    """Return messages as one line of at most MAX_LENGTH characters."""
    return " ".join(" ".join(messages).split())[:MAX_LENGTH] or "it does not say why"
