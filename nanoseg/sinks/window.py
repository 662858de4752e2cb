"""A window that shows each annotated frame."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from types import TracebackType

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.sinks.sink import StopRequested
from nanoseg.sinks.window_process import HEADER, NO_WINDOWS, OPENED, QUIT, TITLE
from nanoseg.types import Detections, Frame
from nanoseg.utils.terminal import print_error

_COMMAND = (sys.executable, "-m", "nanoseg.sinks.window_process")
_ADVICE = "set DISPLAY to a screen that you may use, log in with ssh -X, or write pictures with --out instead"
_CLOSE_S = 5.0
_OPEN_S = 20.0  # for a display that may be far away


class Window:
    """Sink that shows annotated frames in a process of its own; q or Escape ends the run.

    Where the display is lost, the run goes on if it has another output.
    """

    may_wait = True  # for the display
    kept = None

    def __init__(self, alone: bool = False, title: str = TITLE) -> None:
        """Start the window's process; entering the `with` block waits for it.

        Args:
            alone: whether the run has no other output.
            title: what its frame says.

        Raises:
            UsageError: there is no display.
        """
        self._alone = alone
        self._process: subprocess.Popen[bytes] | None = None
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError(f"--show: there is no display here; {_ADVICE}")
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which closes the other.
        self._process = subprocess.Popen(
            (*_COMMAND, title),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Show one frame.

        Raises:
            StopRequested: the user pressed q or Escape.
            UsageError: the display is lost, and there is no other output.
        """
        if annotated is None or self._process is None or self._process.stdin is None:
            return
        reply = b""
        with suppress(BrokenPipeError):
            self._process.stdin.write(HEADER.pack(*annotated.shape[:2]))
            self._process.stdin.write(np.ascontiguousarray(annotated).data)
            self._process.stdin.flush()
            reply = self._reply()
        if reply == QUIT:
            raise StopRequested
        if not reply:
            self._close()
            message = f"--show: {_display()} was lost"
            if self._alone:
                raise UsageError(f"{message}; write pictures with --out instead")
            print_error(f"{message}; the run goes on without a window")

    def _reply(self) -> bytes:
        """Return the window's next byte; none where its process has ended."""
        if self._process is None or self._process.stdout is None:
            return b""
        return self._process.stdout.read(1)

    def _close(self) -> int | None:
        """End the window's process and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            return process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def __enter__(self) -> Window:
        """Wait for the window.

        Raises:
            UsageError: the display cannot be reached or does not answer, or OpenCV was built without windows.
        """
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def _open(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        if not select.select([self._process.stdout], [], [], _OPEN_S)[0]:
            self._process.kill()
            raise UsageError(f"--show: {_display()} does not answer; {_ADVICE}")
        if self._reply() != OPENED:
            code = self._close()
            if code == NO_WINDOWS:
                raise UsageError(
                    "--show: this OpenCV was built without windows; install opencv-python in place of "
                    "opencv-python-headless, or write pictures with --out instead"
                )
            raise UsageError(f"--show: {_display()} cannot be reached; {_ADVICE}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def _display() -> str:
    names = [f"{name}={os.environ[name]}" for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    return f"the display {' '.join(names)}" if names else "the display"
