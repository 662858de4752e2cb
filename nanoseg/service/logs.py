"""The log of the service: one line an event, and the same trouble told once and then counted."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone

from nanoseg.utils.names import encode_json
from nanoseg.utils.text import printable

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # as syslog and journald have them
_WORDS = {ERROR: "error", WARNING: "warning", NOTICE: "notice", INFO: "info"}
AGAIN_S = 60.0  # after which trouble that goes on is told again, with its count
MOST = 200  # lines of a kind that differ and are told within AGAIN_S: they may hold what a stranger sent
JOURNAL = "/run/systemd/journal/socket"


class Log:
    """Write events to stderr, or with their fields to journald where stderr is its stream. Safe in all threads."""

    def __init__(self, *, as_json: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Choose the form: JSON lines, else journald's protocol under systemd, else text."""
        self._as_json, self._clock = as_json, clock
        self._journal = None if as_json else _journal()
        self._lock = threading.Lock()
        self.trouble: Counter[str] = Counter()  # by kind, told or not
        # By kind and line: when it was told last, and how many times not since.
        self._told: defaultdict[str, dict[str, tuple[float, int]]] = defaultdict(dict)

    @property
    def is_structured(self) -> bool:
        """Whether lines have a priority and fields: as JSON, or in the journal."""
        return self._as_json or self._journal is not None

    def event(self, message: str, priority: int = INFO, **fields: object) -> None:
        """Write one event; control characters and passwords of URLs are taken out."""
        message = printable(message)
        if self._journal is not None and self._send(message, priority, fields):
            return
        if self._as_json:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line = encode_json({"time": now, "level": _WORDS[priority], "message": message, **fields})
        else:
            line = f"nanoseg: {message}".encode(errors="replace")
        with suppress(OSError), self._lock:
            os.write(sys.stderr.fileno(), line + b"\n")

    def tell(
        self, kind: str, message: str, priority: int = WARNING, *, same: str | None = None, **fields: object
    ) -> None:
        """Write trouble, unless the same was told within AGAIN_S; then it is counted.

        Args:
            kind: for the metrics, of a few: "camera", "http", "mqtt", "records", "engine", "board",
                "state", "library".
            message: one line; the same kind with another line is other trouble.
            priority: of the event.
            same: what lines about the same trouble have in common, by default all of the line.
            fields: of the event.
        """
        key, now_s = message if same is None else same, self._clock()
        with self._lock:
            self.trouble[kind] += 1
            if len(self._told[kind]) >= MOST:
                recent = {each: told for each, told in self._told[kind].items() if now_s - told[0] < AGAIN_S}
                self._told[kind] = recent
                if len(recent) >= MOST and key not in recent:
                    key = ""
                    message = f"{kind}: more trouble than is told here; nanoseg_trouble_total counts it"
            told_s, silent = self._told[kind].get(key, (-AGAIN_S, 0))
            if now_s - told_s < AGAIN_S:
                self._told[kind][key] = told_s, silent + 1
                return
            self._told[kind][key] = now_s, 0
        self.event(f"{message} ({silent} more since it was told)" if silent else message, priority, kind=kind, **fields)

    def close(self) -> None:
        """Let go of journald."""
        if self._journal is not None:
            self._journal.close()

    def _send(self, message: str, priority: int, fields: dict[str, object]) -> bool:
        """Send to journald; returns whether it took it."""
        values = {"MESSAGE": message, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "nanoseg"}
        values |= {f"NANOSEG_{name.upper()}": value for name, value in fields.items()}
        data = "".join(f"{name}={printable(str(value))}\n" for name, value in values.items()).encode(errors="replace")
        try:
            assert self._journal is not None
            self._journal.sendto(data, JOURNAL)
        except OSError:
            return False
        return True


def _journal() -> socket.socket | None:
    """Return a socket for journald where stderr is its stream; see $JOURNAL_STREAM in systemd.exec(5)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    with suppress(OSError, ValueError):
        status = os.fstat(sys.stderr.fileno())
        if (status.st_dev, status.st_ino) == (int(device), int(inode)):
            journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            journal.setblocking(False)
            return journal
    return None
