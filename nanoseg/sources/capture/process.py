"""The process that captures a live source: what it is told comes on stdin, what it tells goes to stdout.

Libraries that read cameras hang, crash and hold the interpreter's lock; here that is this process, which can be killed.
It ends with its parent, whatever it does.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import sys
import threading
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from nanoseg.errors import NanosegError, SourceError, one_line
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Capture, Captured, EndOfSource, load_capture, open_capture
from nanoseg.sources.capture.frame_slots import FrameSlots
from nanoseg.sources.capture.messages import CLOSED, ENDED, FAILED, FRAME, LOST, OPENED, STARTED, encode
from nanoseg.sources.source import check_pixels

_SAMPLE_PX = 16  # of so many rows and columns one is compared first
_MAX_AHEAD_NS, _MAX_AGE_NS = 50_000_000, 10_000_000_000  # of a frame that is taken at once
_PR_SET_PDEATHSIG = 1
_CLOSE_S = 1.0
MEMORY_BYTES = 1_000_000_000  # of a stream's process; one of 4K H.265 has 0.22 GB


@dataclass(frozen=True)
class Spec:
    """What a capture process is started with."""

    url: CameraUrl
    max_pixels: int
    started_ns: int  # time.monotonic_ns() of the camera's start
    memory: int  # the descriptor of the slots

    @classmethod
    def from_json(cls, line: bytes) -> Spec:
        """Read it from the first line of stdin."""
        values = json.loads(line)
        url = values["url"]
        if url["size_wh"] is not None:
            url["size_wh"] = tuple(url["size_wh"])
        return cls(CameraUrl(**url), values["max_pixels"], values["started_ns"], values["memory"])


class Fingerprint:
    """What tells whether a picture is the one before, bit by bit."""

    def __init__(self) -> None:
        """Start with no picture."""
        self._sample: int | None = None

    def read(self, pixels: np.ndarray) -> tuple[int, int | None]:
        """Return a checksum of some pixels, and of all where a difference is not plain from those."""
        sample = zlib.crc32(pixels[::_SAMPLE_PX, ::_SAMPLE_PX].tobytes())
        same = self._sample in (None, sample)
        self._sample = sample
        return sample, zlib.crc32(pixels.data) if same else None


def plausible_time(captured_ns: int, now_ns: int) -> int:
    """Return when a frame was captured, or now where a source says what cannot be: its clock jumped."""
    return captured_ns if -_MAX_AHEAD_NS <= now_ns - captured_ns <= _MAX_AGE_NS else now_ns


class CaptureLoop:
    """Open, read and close a source, as often as the parent wants."""

    def __init__(self, spec: Spec, commands: BinaryIO, replies: BinaryIO) -> None:
        """Capture a source.

        Args:
            spec: what is captured.
            commands: of the parent; their end ends the process.
            replies: to the parent.
        """
        self._spec, self._commands, self._replies = spec, commands, replies
        self._slots = FrameSlots(spec.memory)
        self._open = threading.Semaphore(0)
        self._closing = False
        self._busy = self._overdue = 0  # frames for which no slot was free, and that the source left out

    def run(self) -> None:
        """Capture until the parent closes this process's stdin."""
        threading.Thread(target=self._listen, daemon=True).start()
        while not self._closing:
            self._open.acquire()
            if not self._closing:
                self._capture()
                gc.collect()  # libraries leave decoders in cycles, megabytes each time

    def _listen(self) -> None:
        for line in self._commands:
            command = json.loads(line)
            if "free" in command:
                self._slots.release(command["free"])
            else:
                self._open.release()
        self._closing = True
        self._open.release()
        time.sleep(_CLOSE_S)
        os._exit(1)  # the source does not close

    def _capture(self) -> None:
        capture: Capture | None = None
        try:
            load_capture(self._spec.url)
            self._send(STARTED, True)
            capture = open_capture(self._spec.url, self._spec.max_pixels, self._spec.started_ns)
            self._send(OPENED, {"description": capture.description})
            fingerprint = Fingerprint()
            while not self._closing:
                self._pass_on(capture.read(), capture, fingerprint)
        except EndOfSource as end:
            self._send(ENDED, self._overdue + end.overdue)
        except NanosegError as error:
            # A file that is read live does not come back by being opened again.
            if isinstance(error, SourceError) and self._spec.url.kind != "live":
                self._send(LOST, str(error))
            else:
                self._send(FAILED, [type(error).__name__, str(error)])
        except BrokenPipeError:
            self._closing = True
        except Exception as error:  # of a library: told as a loss, its process lives on
            self._send(LOST, f"{type(error).__name__}: {one_line(error)}")
        finally:
            if capture is not None:
                with suppress(Exception):
                    capture.close()
        self._send(CLOSED, True)

    def _pass_on(self, captured: Captured, capture: Capture, fingerprint: Fingerprint) -> None:
        height, width = captured.image.shape[:2]
        check_pixels(self._spec.url.name, (width, height), self._spec.max_pixels)
        self._overdue += captured.overdue
        written = self._slots.write(captured.image)
        if written is None:
            self._busy += 1
            return
        offset, pixels = written
        sample, checksum = fingerprint.read(pixels) if self._spec.url.frozen_s else (0, None)
        self._send(
            FRAME,
            {
                "offset": offset,
                "height": height,
                "width": width,
                "captured_ns": plausible_time(captured.captured_ns, time.time_ns()),
                "media_ns": captured.media_ns,
                "sample": sample,
                "checksum": checksum,
                "clock": capture.clock,
                "damaged": capture.damaged,
                "busy": self._busy,
                "overdue": self._overdue,
            },
        )

    def _send(self, kind: str, value: Any) -> None:
        try:
            self._replies.write(encode({kind: value}))
            self._replies.flush()
        except BrokenPipeError:
            self._closing = True


def end_with_parent() -> None:
    """Let the kernel end this process a second after its parent died, also where the interpreter's lock is held.

    The end of stdin ends it before, with its source closed, where it can.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGABRT):  # for the parent, which closes stdin
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        # The handler of SIGHUP, number 1, is the C library's alarm itself: alarm(1) needs no interpreter.
        libc.signal(signal.SIGHUP, libc.alarm)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGHUP)


def bound_memory(limit_bytes: int = MEMORY_BYTES) -> None:
    """Let this process's own data grow to a limit at most: a hostile server could else fill the machine's memory.

    A description of a stream or a part of motion JPEG without end then is one that is lost, and its process ends alone.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def main() -> None:
    """Capture what stdin says."""
    end_with_parent()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    commands = sys.stdin.buffer
    if line := commands.readline():
        spec = Spec.from_json(line)
        if spec.url.kind == "stream":
            bound_memory()
        CaptureLoop(spec, commands, replies).run()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries keep nothing waiting


if __name__ == "__main__":
    main()
