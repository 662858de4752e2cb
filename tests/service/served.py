"""`nanoseg serve` as a process of its own, for tests."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service_process import WAIT_S, ServiceProcess

__all__ = ["WAIT_S", "Served", "served"]


class Served(ServiceProcess):
    """A service that runs, with its answers."""

    def get(self, path: str) -> Any:
        """Return the JSON of a path, or its bytes where it is none."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            data = answer.read()
            return json.loads(data) if answer.headers.get_content_type() == "application/json" else data

    def source(self, name: str) -> dict[str, Any]:
        """Return what /state has of a camera."""
        return next(source for source in self.get("/state")["sources"] if source["name"] == name)


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
