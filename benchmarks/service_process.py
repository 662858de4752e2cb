"""`nanoseg serve` as a process of its own, with its log, for measurements and tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

WAIT_S = 120.0  # for anything, on a slow machine


class ServiceError(RuntimeError):
    """What was waited for does not come; the message has the log."""


class ServiceProcess:
    """A service that runs; `url` is where it is, `lines` its log so far."""

    def __init__(self, config: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it, and wait until it serves; raises ServiceError.

        Args:
            config: its file; the port may be any, as the log tells it.
            environment: what differs from that of this process.
        """
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nanoseg", "serve", "--config", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        try:
            self.url: str = self.wait_for(lambda: re.search(r"(http://\S+) serves", "\n".join(self.lines)))[1]
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def wait_for(self, condition: Callable[[], T | None]) -> T:
        """Wait until a condition holds, and return its value; raises ServiceError where it does not."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            if value := condition():
                return value
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise ServiceError("\n".join(["it does not come to that:", *self.lines]))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        self._reading.join(WAIT_S)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
