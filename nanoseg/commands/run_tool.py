"""How a tool ends: with what it found, a line about what went wrong, or Ctrl-C; and the code that a shell is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from nanoseg.errors import INTERRUPTED, NanosegError
from nanoseg.utils.terminal import print_json

NOTHING_WRITTEN = "interrupted; nothing was written"  # by those that write their files last


Options = TypeVar("Options")
Found = TypeVar("Found")
Say = Callable[[str], None]
# The options' class, the work on options, the report's folder and a log, and what prints the report.
Parts = tuple[
    Callable[..., Options],
    Callable[[Options, "Path | None", Say], Found],
    Callable[[Found, "Path | None"], None],
]


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


def run_job(tool: str, flags: argparse.Namespace, load: Callable[[], Parts[Options, Found]]) -> int:
    """The same for a job of minutes, which writes its files last: do what the flags ask, and tell its report.

    With --json that is JSON. `load` imports what does it, so that a missing library is told in one line.
    """
    given = vars(flags)
    as_json, folder = given.pop("json"), given.pop("report")
    ended: list[Callable[[], None]] = []

    def work() -> None:
        make_options, run, print_report = load()
        found = run(make_options(**given), folder, partial(note, tool))
        ended.append(lambda: print_json(found) if as_json else print_report(found, folder))

    return run_tool(tool, work, NOTHING_WRITTEN) or run_tool(tool, ended[0])


def note(tool: str, line: str) -> None:
    """A line on stderr in the tool's name."""
    print(f"{tool}: {line}", file=sys.stderr, flush=True)
