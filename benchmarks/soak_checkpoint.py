"""What a soak has found so far, in a file that it goes on from: lines of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nanoseg.errors import UsageError
from soak_recovery import Recovery


class Checkpoint:
    """The recoveries of all sessions; a session is a run of the command, and one that has no end has crashed."""

    def __init__(self, path: Path, wanted: dict[str, Any]) -> None:
        """Read the file where it is, else begin it.

        Args:
            path: the file.
            wanted: the options of the soak; raises UsageError where the file is of another.
        """
        self._path = path
        self.recoveries: list[Recovery] = []
        self.sessions: list[dict[str, Any]] = []
        if not path.exists():
            self._write({"soak": wanted})
            return
        for line in path.read_text().splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue  # cut by a crash, which the session's missing end tells
            if message.get("soak", wanted) != wanted:
                raise UsageError(f"{path}: is of a soak with {message['soak']}; choose another --checkpoint")
            if "start" in message:
                self.sessions.append({"start": message["start"]})
            elif "end" in message:
                self.sessions[-1] |= message
            elif "recovery" in message:
                self.recoveries.append(Recovery(**message["recovery"]))

    def start(self, figures: dict[str, float]) -> None:
        """Begin a session."""
        self.sessions.append({"start": figures})
        self._write({"start": figures})

    def add(self, recovery: Recovery) -> None:
        """Take note of a recovery."""
        self.recoveries.append(recovery)
        self._write({"recovery": asdict(recovery)})

    def end(self, figures: dict[str, float], left: list[str], stopped: bool) -> None:
        """End a session.

        Args:
            figures: those of its end.
            left: what was left behind when all cameras were closed.
            stopped: whether it was told to end, in the middle of faults.
        """
        end = {"end": figures, "left": left, "stopped": stopped}
        self.sessions[-1] |= end
        self._write(end)

    def _write(self, message: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(message) + "\n")
