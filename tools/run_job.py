"""How a tool that works for minutes ends: with what it found, a line about what went wrong, or Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable

from nanoseg.errors import INTERRUPTED, NanosegError


def run_job(tool: str, work: Callable[[Callable[[str], None]], Callable[[], None]]) -> int:
    """Do the work and tell its result; returns the exit code of nanoseg's errors.

    `work` is given what says a line on stderr, and gives what tells the result. It writes its files last.
    """

    def say(line: str) -> None:
        print(f"{tool}: {line}", file=sys.stderr, flush=True)

    try:
        tell = work(say)
    except NanosegError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; nothing was written")
        return INTERRUPTED
    tell()
    return 0
