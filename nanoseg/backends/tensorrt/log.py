"""TensorRT's words, kept for our messages: by itself it writes them to stderr."""

from __future__ import annotations

import threading
from collections import deque
from itertools import count
from typing import Any, Protocol
from weakref import WeakKeyDictionary

WHY_LENGTH = 300  # characters; the library's errors name its own source files
_KEPT = 64  # errors; an engine that fails at every frame may do so for months
_LOGS: WeakKeyDictionary[Any, tuple[Any, Words]] = WeakKeyDictionary()  # by module
_LOCK = threading.Lock()


class _Listener(Protocol):
    def append(self, words: str, /) -> None: ...


def error_log(api: Any, said: _Listener) -> Any:
    """A logger for `api`, any TensorRT module, that appends its errors to `said` and drops the rest."""
    kind = api.ILogger
    errors = (kind.ERROR, kind.INTERNAL_ERROR)

    class Log(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            kind.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in errors:
                said.append(msg)

    return Log()


class Words:
    """The last errors that TensorRT told, each with the thread that it was told in.

    All engines have one logger, and Python's other threads go on while TensorRT works: what is told meanwhile may be of
    another thread's engine. What a call finds wrong by itself is told in the thread of that call. TensorRT has threads
    of its own as well, to load and to compile; whose call their words are about cannot be known.
    """

    def __init__(self) -> None:
        self._numbers = count(1)  # next() of it cannot be interrupted by another thread; nor can deque.append()
        self._last: deque[tuple[int, int, str]] = deque(maxlen=_KEPT)  # (number, thread, words)

    def append(self, words: str) -> None:
        """Take in one more."""
        self._last.append((next(self._numbers), threading.get_ident(), words))

    def mark(self) -> int:
        """This moment, for the functions below."""
        return next(self._numbers)

    def here(self, mark: int) -> list[str]:
        """What was told in this thread after a mark."""
        this = threading.get_ident()
        return [words for number, thread, words in list(self._last) if number > mark and thread == this]

    def since(self, mark: int) -> str:
        """Why a call failed that began at a mark, in one line: what this thread was told, else whatever was told."""
        return told_why(self.here(mark) or [words for number, _, words in list(self._last) if number > mark])


def runtime_log(api: Any) -> tuple[Any, Words]:
    """The logger of every runtime of `api` in this process, and what it hears.

    There is one, because TensorRT keeps "only a single logger pointer at any given time" while a runtime lives, and
    tells the words of a second engine to the logger of the first.
    """
    with _LOCK:
        if api not in _LOGS:
            words = Words()
            _LOGS[api] = (error_log(api, words), words)
        return _LOGS[api]


def told_why(said: list[str]) -> str:
    """What was said, in one line of a bearable length."""
    return " ".join(" ".join(said).split())[:WHY_LENGTH] or "it does not say why"
