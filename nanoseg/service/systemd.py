"""What the service tells systemd: sd_notify(3) is one datagram a message.

Nothing here raises or waits; where systemd did not start this process, nothing is sent.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path


class Notifier:
    """Sends the state of this process to the service manager."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Take the socket's address from $NOTIFY_SOCKET: a path, or an abstract name behind `@`."""
        address = environment.get("NOTIFY_SOCKET", "")
        # Others are of later versions: a virtual machine's vsock.
        self._address = f"\0{address[1:]}" if address[:1] == "@" else address if address[:1] == "/" else ""

    @property
    def has_manager(self) -> bool:
        """Whether this process has a service manager to tell."""
        return bool(self._address)

    def ready(self, status: str = "") -> bool:
        """Tell that the service has started, or has read its configuration again; returns whether it was sent.

        `systemctl status` shows `status`, a line.
        """
        return self._send("READY=1", *_status(status))

    def reloading(self) -> bool:
        """Tell that the configuration is read again, until `ready`; returns whether it was sent."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        """Tell that the service ends; returns whether it was sent."""
        return self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> bool:
        """Tell that the service does its work; returns whether it was sent."""
        return self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except (OSError, ValueError):  # the manager is away or its queue full; a NUL in the address
            return False
        return True


class Watchdog:
    """Tells systemd that frames are finished, or that there are none; silent while the engine hangs.

    In a container there is nobody to tell: with $WATCHDOG_USEC alone this process ends itself where it is silent for so
    long, with what each thread was at on stderr, and is started again by the container's restart policy.
    """

    def __init__(self, notifier: Notifier, environment: Mapping[str, str] = os.environ) -> None:
        """Take WatchdogSec= from $WATCHDOG_USEC, which is of the process $WATCHDOG_PID alone.

        Args:
            notifier: sends.
            environment: of this process.
        """
        self._notifier = notifier
        self.interval_s = _watchdog_s(environment) / 2  # between two messages; 0: there is no watchdog
        self._sent_s = -self.interval_s

    def alive(self) -> None:
        """Tell it, at most twice in WatchdogSec=; cheap enough for every turn of a loop.

        For the thread that runs the engine alone: after a frame, and while it waits for cameras. Never from a timer or
        from within the segmenter, which would hide a hung engine.
        """
        now_s = time.monotonic()
        if self.interval_s and now_s - self._sent_s >= self.interval_s and self._feed():
            self._sent_s = now_s

    def close(self) -> None:
        """End no more: the service is being closed, which may take its time."""
        if not self._notifier.has_manager:
            faulthandler.cancel_dump_traceback_later()

    def _feed(self) -> bool:
        if self._notifier.has_manager:
            return self._notifier.watchdog()
        faulthandler.dump_traceback_later(2 * self.interval_s, exit=True)
        return True


def credential(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of a credential, as of LoadCredential=; None where systemd hands over none of that name."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, name) if folder else None
    return path if path is not None and os.path.isfile(path) else None


def _status(text: str) -> tuple[str, ...]:
    """Return the line of a status, without the newlines of what it quotes, which would begin other messages."""
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def _watchdog_s(environment: Mapping[str, str]) -> float:
    try:
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return 0.0
        return max(0.0, int(environment.get("WATCHDOG_USEC", "0")) / 1e6)
    except ValueError:
        return 0.0
