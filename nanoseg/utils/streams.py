"""stdout and stderr that are closed, full or read by nobody: what a command does about each."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TextIO

from nanoseg.errors import os_reason

CLOSED_PIPE = 128 + signal.SIGPIPE  # the exit code of programs whose reader has gone, `... | head -1`


def open_closed_streams() -> None:
    """Give file descriptors 0, 1 and 2 something to stand for where the shell has closed them (`>&-`).

    Otherwise the next file that is opened, a video for example, becomes stdout, and libraries print into it. Writing to
    a closed stdout raises OSError, as it does in other programs; a closed stderr takes everything and shows nothing.
    """
    for descriptor, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:  # os.open takes the lowest number that is free
            os.open(os.devnull, mode)
            os.set_inheritable(descriptor, True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace")  # noqa: SIM115


def stream_error(error: OSError) -> str:
    """Return the message for an OSError that writing to stdout or stderr raised; what they still hold is dropped."""
    name = "stderr" if _flush(sys.stderr) else "stdout"
    for stream in (sys.stdout, sys.stderr):
        discard_failing(stream)
    return f"{name}: cannot be written: {os_reason(error)}"


def discard_failing(stream: TextIO) -> OSError | None:
    """Flush a stream; where that fails, let what it holds and what comes go nowhere, and return the error.

    Python would flush it again at its end, and print a second message.
    """
    if error := _flush(stream):
        with suppress(OSError, ValueError):  # a stream of a test has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()
    return error


def _flush(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        return error
    except ValueError:  # closed
        return None
    return None
