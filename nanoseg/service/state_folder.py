"""What the service keeps between two starts: the bundle that was swapped in, and how often it has started."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from nanoseg.errors import UsageError
from nanoseg.utils.files import write_atomic
from nanoseg.utils.read_file import read_text

_FILE = "service.json"


class Kept(msgspec.Struct):
    """The content of the file."""

    starts: int = 0
    configured: str = ""  # model.bundle when another one was swapped in
    running: str = ""  # the bundle that was


class StateFolder:
    """The folder that systemd names in $STATE_DIRECTORY; without one nothing is kept."""

    def __init__(self) -> None:
        """Read what was kept; a damaged file counts as none."""
        folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        self._path = Path(folder) / _FILE if folder else None
        self.kept = Kept()
        if self._path is not None and self._path.exists():
            try:
                self.kept = msgspec.json.decode(read_text(self._path), type=Kept)
            except (UsageError, msgspec.DecodeError):
                self.kept = Kept()

    def bundle(self, configured: str) -> str:
        """Return the bundle to start with: the one that was swapped in, unless the configuration names another now."""
        return self.kept.running if self.kept.running and self.kept.configured == configured else configured

    def started(self) -> int:
        """Count one start, and return the number; raises OSError."""
        self.kept.starts += 1
        self._write()
        return self.kept.starts

    def swapped(self, configured: str, running: str) -> None:
        """Keep the bundle that runs now; raises OSError."""
        self.kept.configured, self.kept.running = configured, "" if running == configured else running
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            write_atomic(self._path, msgspec.json.encode(self.kept))
