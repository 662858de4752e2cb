"""TensorRT's words, kept for our messages: by itself it writes them to stderr."""

from __future__ import annotations

from typing import Any

WHY_LENGTH = 300  # characters; the library's errors name its own source files


def error_log(api: Any, said: list[str]) -> Any:
    """A logger for `api`, any TensorRT module, that appends its errors to `said` and drops the rest."""

    class Log(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR):
                said.append(msg)

    return Log()


def told_why(said: list[str]) -> str:
    """What was said, in one line of a bearable length."""
    return " ".join(" ".join(said).split())[:WHY_LENGTH] or "it does not say why"
