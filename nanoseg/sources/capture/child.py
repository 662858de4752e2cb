"""The capture process as its parent sees it: started, spoken to, and ended whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

import numpy as np

from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.frame_slots import SlotReader
from nanoseg.sources.capture.messages import Lines, encode
from nanoseg.utils.text import shorten

MODULE = "nanoseg.sources.capture.process"
# Modules are found where this process finds them, and not in the current folder, which Python would add.
_CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"
_READ_BYTES = 1 << 16
_LAST_WORDS = 4096  # bytes of stderr that are kept
_LAST_READS = 32  # a pipe is full with fewer
_unkillable: list[subprocess.Popen[bytes]] = []  # killed, but in a driver that does not return yet


class CaptureProcess:
    """A process that captures one source."""

    def __init__(self, url: CameraUrl, max_pixels: int, started_ns: int) -> None:
        """Start the process; it opens the source when it is told to.

        Raises:
            OSError: the system starts no more processes, or gives no memory.
        """
        _unkillable[:] = [process for process in _unkillable if process.poll() is None]
        self._slots, self._lines, self._words = SlotReader(), Lines(), b""
        self._lock = threading.Lock()  # of stdin
        self.ended = False  # its messages have ended
        try:
            self._process = process = subprocess.Popen(
                (sys.executable, "-c", _CODE.format(path=sys.path, module=MODULE)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(self._slots.descriptor,),
                start_new_session=True,  # Ctrl-C reaches the parent alone
            )
        except BaseException:
            self._slots.close()
            raise
        self._stdin, self.stdout, self.stderr = map(_unblocked, (process.stdin, process.stdout, process.stderr))
        spec = {"url": asdict(url), "max_pixels": max_pixels, "started_ns": started_ns}
        self.send({**spec, "memory": self._slots.descriptor})

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, from any thread; one that the process cannot take is lost, as the process is."""
        with self._lock, suppress(OSError, ValueError):
            self._stdin.write(encode(message))

    def receive(self) -> list[tuple[str, Any]]:
        """Return the messages that have arrived.

        Raises:
            ValueError: what arrived is no message.
        """
        data = self.stdout.read(_READ_BYTES)
        if data == b"":
            self.ended = True
        return list(self._lines.feed(data or b""))

    def listen(self) -> bool:
        """Read what has arrived on stderr; return whether there may be more later."""
        data = self.stderr.read(_READ_BYTES)
        self._words = (self._words + (data or b""))[-_LAST_WORDS:]
        return data != b""

    def view(self, offset: int, height: int, width: int) -> np.ndarray:
        """Return the frame in a slot, (height, width, 3) uint8, valid until it is released. Raises ValueError."""
        return self._slots.view(offset, height, width)

    def release(self, offset: int) -> None:
        """Give a slot back, from any thread."""
        self.send({"free": offset})

    def last_words(self) -> str:
        """Return the last line that was printed on stderr."""
        lines = [line.strip() for line in self._words.decode(errors="replace").splitlines()]
        return shorten(next(filter(None, reversed(lines)), ""), 300)

    def end(self, grace_s: float) -> int | None:
        """End the process: let it close its source for `grace_s` seconds, then kill it.

        Returns:
            Its exit code, negative: the signal; None where a driver does not let it die yet.
        """
        with self._lock:
            self._stdin.close()
        code: int | None = None
        deadline_s = time.monotonic() + grace_s
        while (code := self._process.poll()) is None and time.monotonic() < deadline_s:
            self.listen()  # where stderr is full it waits for us
            with suppress(ValueError):
                self.receive()
            time.sleep(0.005)
        if code is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(0.3)
            if code is None:
                _unkillable.append(self._process)
        for _ in range(_LAST_READS):
            if not self.listen():
                break
        self.stdout.close()
        self.stderr.close()
        self._slots.close()
        return code

    def how_it_ended(self, code: int | None) -> str:
        """Return why its messages ended, in a line."""
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"by signal {-code}"
            with suppress(ValueError):
                how = f"by {signal.Signals(-code).name}"
        words = self.last_words()
        return f"the capture process ended {how}{f': {words}' if words else ''}"


def _unblocked(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("no pipe")
    os.set_blocking(pipe.fileno(), False)
    return pipe
