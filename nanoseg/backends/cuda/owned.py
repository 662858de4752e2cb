"""What a driver made and must be given back, once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import finalize

from nanoseg.errors import EngineError


class Owned:
    """Given back by close(), by the end of a `with`, or at last when nothing holds it any more."""

    def __init__(self, value: Any, free: Callable[[Any], None]) -> None:
        self._value, self._free = value, free
        self._last_resort = finalize(self, _free_quietly, free, value)
        self._last_resort.atexit = False  # the driver itself frees what is left when the process ends

    @property
    def value(self) -> Any:
        """The driver's own handle or address; raises EngineError once it is closed."""
        if self.is_closed:
            raise closed(type(self).__name__)
        return self._value

    @property
    def is_closed(self) -> bool:
        """Whether it was given back."""
        return not self._last_resort.alive

    def close(self) -> None:
        """Give it back; wait for the work that uses it before. May be called twice."""
        if self._last_resort.detach():
            value, self._value = self._value, None
            self._free(value)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def closed(what: str) -> EngineError:
    """The error of using something after its end."""
    return EngineError(f"{what}: it is closed and cannot be used any more")


def _free_quietly(free: Callable[[Any], None], value: Any) -> None:
    with suppress(EngineError):  # what broke the driver was told when it broke
        free(value)
