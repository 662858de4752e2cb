"""What the service keeps between two starts: the bundle that was swapped in, and how often it has started."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from nanoseg.errors import UsageError
from nanoseg.service.config import ModelConfig
from nanoseg.utils.files import write_atomic
from nanoseg.utils.read_file import read_text

_FILE = "service.json"


class Kept(msgspec.Struct):
    """The content of the file."""

    starts: int = 0
    configured: str = ""  # model.bundle when bundles were swapped
    running: str = ""  # the bundle that was swapped in
    before: str = ""  # the one that ran before it
    watched: bool = False  # whether `running` had yet to prove itself
    models: dict[str, ModelConfig] = {}  # what bundles are asked for that the file does not name any more


class Start(NamedTuple):
    """What a service starts with."""

    running: str  # name of a bundle
    before: str = ""  # the one that ran before it
    failed: str = ""  # the one that was new when the service ended without having been told to
    models: Mapping[str, ModelConfig] = {}  # what bundles are asked for that the file does not name any more


class StateFolder:
    """The folder that systemd names in $STATE_DIRECTORY; without one nothing is kept."""

    def __init__(self) -> None:
        """Read what was kept; a damaged file counts as none."""
        folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        self._path = Path(folder) / _FILE if folder else None
        self._lock = threading.Lock()
        self._kept = Kept()
        if self._path is not None and self._path.exists():
            try:
                self._kept = msgspec.json.decode(read_text(self._path), type=Kept)
            except (UsageError, msgspec.DecodeError):
                self._kept = Kept()

    def start(self, configured: str) -> Start:
        """Return what to start with: what ran last, unless that failed or another bundle is configured now."""
        kept = self._kept
        if not kept.running or kept.configured != configured:
            return Start(configured)
        if kept.watched and kept.before:
            return Start(kept.before, failed=kept.running, models=kept.models)
        return Start(kept.running, kept.before, models=kept.models)

    def started(self) -> int:
        """Count one start, and return the number; raises OSError."""
        with self._lock:
            kept = self._kept
            if kept.watched and kept.before:
                kept = Kept(kept.starts, kept.configured, kept.before, models=kept.models)
            self._kept = msgspec.structs.replace(kept, starts=kept.starts + 1)
            self._write()
            return self._kept.starts

    def swapped(
        self,
        configured: str,
        running: str,
        before: str,
        *,
        watched: bool,
        models: Mapping[str, ModelConfig] | None = None,
    ) -> None:
        """Keep the bundle that runs now, the one before, and whether the former is watched; raises OSError.

        Args:
            configured: the bundle that the file names.
            running: the one that runs.
            before: the one that ran before it, or an empty string.
            watched: whether `running` has yet to prove itself.
            models: what bundles are asked for that the file does not name any more.
        """
        with self._lock:
            self._kept = Kept(self._kept.starts, configured, running, before, watched, dict(models or {}))
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            write_atomic(self._path, msgspec.json.encode(self._kept))
