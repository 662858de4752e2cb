"""`nanoseg serve` as a process of its own, for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 120.0  # for anything, on a slow machine


class Served:
    """A service that runs; `url` is where it is."""

    def __init__(self, config: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "nanoseg", "serve", "--config", str(config)]
        # The port is told in the log.
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, start_new_session=True
        )
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        found = self.wait_for(lambda: next((line for line in self.lines if " serves " in line), None))
        self.url = re.search(r"http://\S+", found)[0]

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def get(self, path: str) -> Any:
        """Return the JSON of a path, or its bytes where it is none."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            data = answer.read()
            return json.loads(data) if answer.headers.get_content_type() == "application/json" else data

    def source(self, name: str) -> dict[str, Any]:
        """Return what /state has of a camera."""
        return next(source for source in self.get("/state")["sources"] if source["name"] == name)

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds, and return its value; fails with the log where it does not."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            if value := condition():
                return value
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError("\n".join(["it does not come to that:", *self.lines]))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        self._reading.join(WAIT_S)
        self.process.stderr.close()
        return code


@contextmanager
def served(folder: Path, text: str, **environment: str) -> Iterator[Served]:
    """Run a service with a configuration until the end of the block, on any free port."""
    config = folder / "nanoseg.toml"
    config.write_text(text if "[http]" in text else f"{text}\n[http]\nport = 0\n")
    service = Served(config, environment)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.end(signal.SIGKILL)
