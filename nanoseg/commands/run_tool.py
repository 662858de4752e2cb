"""How a tool ends: with what it found, a line about what went wrong, or Ctrl-C; and the code that a shell is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from nanoseg.errors import INTERRUPTED, NanosegError
from nanoseg.utils.terminal import print_json

NOTHING_WRITTEN = "interrupted; nothing was written"  # by those that write their files last


class _Job(Protocol):
    """What was asked for, by the names of the flags."""

    @property
    def report(self) -> Path | None: ...


Asked = TypeVar("Asked", bound=_Job)
Found = TypeVar("Found")
Say = Callable[[str], None]
# What makes a job of the flags, what does it, and what tells its report and where that lies.
Parts = tuple[Callable[..., Asked], Callable[[Asked, Say], Found], Callable[[Found, "Path | None"], None]]


def run_tool(tool: str, work: Callable[[], object], interrupted: str = "interrupted") -> int:
    """Do the work; returns the exit code of nanoseg's errors. What went wrong is one line on stderr."""
    try:
        work()
    except NanosegError as error:
        note(tool, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        note(tool, interrupted)
        return INTERRUPTED
    return 0


def run_job(tool: str, flags: argparse.Namespace, load: Callable[[], Parts[Asked, Found]]) -> int:
    """The same for a job of minutes, which writes its files last: do what the flags ask, and tell its report.

    With --json that is JSON. `load` imports what does it, so that a missing library is told in one line.
    """
    given = vars(flags)
    as_json = given.pop("json")
    ended: list[Callable[[], None]] = []

    def work() -> None:
        make, do, tell = load()
        job = make(**given)
        found = do(job, partial(note, tool))
        ended.append(lambda: print_json(found) if as_json else tell(found, job.report))

    return run_tool(tool, work, NOTHING_WRITTEN) or run_tool(tool, ended[0])


def note(tool: str, line: str) -> None:
    """A line on stderr in the tool's name."""
    print(f"{tool}: {line}", file=sys.stderr, flush=True)
