"""Shared parts of the benchmarks: flags, the result file and the exit code."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environment import ROOT, environment
from nanoseg.errors import NanosegError, UsageError
from nanoseg.utils.files import check_writable, write_atomic, write_errors


def flags(text: str | None, frame: str, rounds: int | None) -> argparse.ArgumentParser:
    """Return a parser with --frame, --rounds and --json; `rounds` is None where the script has its own default."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frame", default=frame, metavar="WxH", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"(default: {rounds or 'by what is measured'})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result file there too")
    return parser


def checked(options: argparse.Namespace) -> tuple[int, int]:
    """Return width and height of --frame; raises UsageError where one of the three flags is invalid."""
    sides = numbers(options.frame, "x", "--frame", "WIDTHxHEIGHT")
    if len(sides) != 2:
        raise UsageError(f"--frame: wanted WIDTHxHEIGHT, got {options.frame}")
    if options.rounds < 1:
        raise UsageError(f"--rounds: wanted 1 or more, got {options.rounds}")
    if options.json:
        check_writable(options.json, "--json")
    return sides[0], sides[1]


def numbers(text: str, separator: str, flag: str, wanted: str) -> list[int]:
    """Return the positive integers in a text; raises UsageError where it has anything else."""
    try:
        found = [int(each) for each in text.split(separator)]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UsageError(f"{flag}: wanted {wanted}, got {text}")
    return found


def write(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON, and make its folder; raises UsageError."""
    with write_errors(path, "choose another --json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(report, indent=2) + "\n").encode())


def result(figures: dict[str, Any], kind: str = "measured", command: str = "") -> dict[str, Any]:
    """Return a result file's content.

    Args:
        figures: What was found, by name.
        kind: `measured`, `estimated` or `published`; benchmarks/results/README.md says what each means.
        command: What finds it; by default the command line of this process, without --json.
    """
    return {"kind": kind, "command": command or command_line(), "environment": environment(), "figures": figures}


def command_line() -> str:
    """Return this process's command as it is typed in a checkout, without --json."""
    script, words = Path(sys.argv[0]).resolve(), list(sys.argv[1:])
    if "--json" in words:
        at = words.index("--json")
        del words[at : at + 2]
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    return shlex.join(["python", str(name), *words])


def run(name: str, options: argparse.Namespace, measure: Callable[[tuple[int, int]], dict[str, Any]]) -> int:
    """Print what `measure` returns for frames of (width, height); return the exit code."""
    try:
        report = measure(checked(options))
        if options.json:
            write(result(report), options.json)
    except NanosegError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    for each, value in report.items():
        print(f"{each:18} {value}")
    return 0
