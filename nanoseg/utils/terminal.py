"""What the verbs say: results on stdout, progress and complaints on stderr."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def set_up() -> None:
    """What a command does before all else."""
    # A file's name may hold what this terminal's encoding has no letter for.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="nanoseg: %(message)s")  # as complain() does


def say(line: str) -> None:
    """One line on stdout, as it is."""
    print(line, flush=True)


def complain(line: str) -> None:
    """One line on stderr, above a progress bar where one is shown."""
    # rich moves its bar out of the way of what goes through sys.stderr while it is shown.
    print(f"nanoseg: {line}", file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(msgspec.json.format(msgspec.json.encode(value)).decode(), flush=True)


def say_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns on stdout, never folded: a path that is cannot be copied."""
    rows = [row for row in rows if row[1]]
    wide = max(len(name) for name, _ in rows)
    print("\n".join([title, *(f"  {name:{wide}}  {value}" for name, value in rows)]), flush=True)


@contextmanager
def progress(what: str, count: int | None, shown: bool = True, unit: str = "frames") -> Iterator[Callable[[], None]]:
    """A bar on stderr where that is a terminal; call what it gives after each step. `count` None: no end is known."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(what, total=count, rate="")

        def advance() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.1f} {unit}/s" if speed else "")

        yield advance


def plural(number: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {noun}" + "s" * (number != 1)


def figure(value: float | None, digits: int = 3) -> str:
    """A number for people; `-` where it was not measured."""
    return "-" if value is None else f"{value:.{digits}f}"
