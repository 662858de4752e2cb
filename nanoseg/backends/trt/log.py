"""TensorRT's words, kept for our messages: by itself it writes them to stderr."""

from __future__ import annotations

import threading
from collections import deque
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
    """The last errors that TensorRT told, and how many there ever were."""

    def __init__(self) -> None:
        self.count = 0
        self._last: deque[str] = deque(maxlen=_KEPT)

    def append(self, words: str) -> None:
        """Take in one more."""
        self._last.append(words)
        self.count += 1

    def since(self, count: int) -> str:
        """Those after the first `count`, in one line."""
        new = min(self.count - count, len(self._last))
        return told_why(list(self._last)[len(self._last) - new :])


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
