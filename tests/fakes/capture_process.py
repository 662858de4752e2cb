"""A capture process whose source behaves as its address says: `PATH:segv,ok` crashes at its first opening alone.

PATH gets a line with the process's number at each opening; the last behaviour is repeated.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np

from nanoseg.errors import DependencyError, SourceError
from nanoseg.sources.capture import process
from nanoseg.sources.capture.capture import Captured, EndOfSource

_PERIOD_S = 0.005
_SIZES_WH = ((64, 48), (128, 96), (32, 24))


def _hang() -> None:
    while True:
        time.sleep(60)


def _hang_with_the_lock() -> None:
    """Keep the interpreter's lock, as a library that does not release it."""
    ctypes.PyDLL(None).sleep(600)


def _write_garbage() -> None:
    """Write into every pipe: one of them goes to the parent."""
    for descriptor in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"\x00\xff no message\n")
        except OSError:
            continue
    _hang()


class FakeCapture:
    """A source of numbered pictures, in which something happens after three of them."""

    fps, clock, damaged = 30.0, "arrival", 0

    def __init__(self, behaviour: str) -> None:
        self.description = f"a source that shows {behaviour}"
        self._behaviour, self._count = behaviour, 0

    def read(self) -> Captured:
        time.sleep(_PERIOD_S)
        self._count += 1
        if self._count > 3:
            self._misbehave()
        width, height = _SIZES_WH[min(self._count - 1, 2) if self._behaviour == "sizes" else 0]
        image = np.full((height, width, 3), 7, np.uint8)
        if self._behaviour != "frozen":
            image[0, 0, 0], image[-1, -1, -1] = self._count % 251, width
        return Captured(image, time.time_ns(), self._count * 40_000_000)

    def _misbehave(self) -> None:
        if self._behaviour in _HAPPENINGS:
            _HAPPENINGS[self._behaviour]()
        elif self._behaviour in ("error", "hang_close"):
            raise SourceError("the cable was pulled")
        elif self._behaviour == "end":
            raise EndOfSource
        elif self._behaviour == "bug":
            raise ZeroDivisionError("in a library")

    def close(self) -> None:
        if self._behaviour == "hang_close":
            _hang()


_HAPPENINGS = {
    "hang": _hang,
    "hang_with_the_lock": _hang_with_the_lock,
    "segv": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "words": lambda: (print("decoder: out of order", file=sys.stderr), os._exit(3)),
    "garbage": _write_garbage,
    "flood": lambda: os.write(2, b"[h264] error while decoding MB 3 4\n" * 3000),
}


def open_fake(url, max_pixels, started_ns):
    """Open it, as the next behaviour says."""
    path, _, behaviours = url.address.rpartition(":")
    opened = len(Path(path).read_text().splitlines()) if Path(path).exists() else 0
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {started_ns}\n")
    behaviour = behaviours.split(",")[min(opened, behaviours.count(","))]
    if behaviour == "refused":
        raise SourceError("Connection refused")
    if behaviour == "missing":
        raise DependencyError("a library is not installed")
    if behaviour.startswith("open_"):
        _HAPPENINGS[behaviour.removeprefix("open_")]()
    return FakeCapture(behaviour)


def main() -> None:
    """Capture with the fake in place of the real sources."""
    process.load_capture = lambda _: None
    process.open_capture = open_fake
    process.main()
