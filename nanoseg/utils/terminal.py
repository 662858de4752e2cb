"""Terminal output of the commands: results on stdout, progress bars and errors on stderr."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nanoseg.utils.names import encode_json
from nanoseg.utils.streams import open_closed_streams
from nanoseg.utils.text import printable


class _LogFormatter(logging.Formatter):
    """Formats what libraries and this package log as `print_error` prints it."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"nanoseg: {printable(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


LINE_EVERY_S = 10.0  # of progress where stderr is no terminal


def configure_output() -> None:
    """Prepare stdout, stderr and logging for a command; call it once, before anything is printed."""
    open_closed_streams()
    # A file name may hold characters that the terminal's encoding cannot represent.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter())
    logging.basicConfig(handlers=[handler])


def print_line(line: str) -> None:
    """Print one line to stdout, control characters escaped."""
    print(printable(line), flush=True)


def print_error(line: str) -> None:
    """Print one line to stderr, prefixed with the program's name; a progress bar stays below it."""
    # rich redirects sys.stderr while a bar is shown and moves the bar out of the way.
    # Where stderr cannot be written nothing can be told: the exit code of the error is what is left.
    with suppress(OSError):
        print(f"nanoseg: {printable(line)}", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a value to stdout as one indented JSON document."""
    text = encode_json(value, indent=True).decode()
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":  # ASCII, where no locale is set
        text = "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text)
    print(text, end="", flush=True)


def print_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print a title and (name, value) rows in two columns to stdout; rows with an empty value are left out.

    Long values are not wrapped, so that a path can be copied.
    """
    rows = [(name, printable(value)) for name, value in rows if value]
    name_width = max(len(name) for name, _ in rows)
    print("\n".join([printable(title), *(f"  {name:{name_width}}  {value}" for name, value in rows)]), flush=True)


@contextmanager
def progress_bar(
    label: str, total: int | None, *, visible: bool = True, unit: str = "frames", every_s: float = 0.0
) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr where that is a terminal, else print a line every LINE_EVERY_S seconds.

    Args:
        label: text in front of the bar.
        total: number of steps; None where it is not known.
        visible: False to show nothing.
        unit: plural noun of the steps, for the rate.
        every_s: for what is timed, seconds between two drawings; else a thread draws ten times a second, and a step
            takes a tenth of a millisecond.

    Yields:
        The function to call after each step.
    """
    console = Console(file=cast(IO[str], SafeStderr(sys.stderr)))
    if visible and not console.is_terminal:
        yield _progress_lines(label, total, unit)
        return
    columns, calm = _columns(console.width), every_s > 0
    with Progress(*columns, console=console, auto_refresh=not calm, transient=True, disable=not visible) as bar:
        task = bar.add_task(printable(label), total=total, rate="")
        steps, drawn_s = 0, time.monotonic()

        def advance() -> None:
            nonlocal steps, drawn_s
            steps += 1
            if calm and time.monotonic() - drawn_s < every_s:
                return
            speed = bar.tasks[0].speed
            bar.update(task, advance=steps, rate=format_rate(speed, unit) if speed else "", refresh=calm)
            steps, drawn_s = 0, time.monotonic()

        yield advance


def _columns(width: int) -> list[ProgressColumn]:
    """Return what fits on a line of a terminal of that width."""
    if width < 40:
        return [MofNCompleteColumn(), *([TimeRemainingColumn()] if width > 25 else [])]
    label = TextColumn("{task.description}", markup=False)
    rate = TextColumn("{task.fields[rate]}")
    if width < 80:
        return [label, MofNCompleteColumn(), TimeRemainingColumn()]
    return [label, BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn(), TimeRemainingColumn()]


def _progress_lines(label: str, total: int | None, unit: str) -> Callable[[], None]:
    """Return a function to call after each step, which prints a line every LINE_EVERY_S seconds."""
    started_s = printed_s = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal printed_s, done
        done += 1
        now_s = time.monotonic()
        if now_s - printed_s < LINE_EVERY_S or done == total:
            return
        printed_s = now_s
        rate = done / (now_s - started_s)
        parts = [
            plural(done, unit.removesuffix("s")) if total is None else f"{done} of {total} {unit}",
            format_rate(rate, unit),
        ]
        if total is not None and total > done:
            parts.append(f"{timedelta(seconds=round((total - done) / rate))} left")
        print_error(f"{label}: {', '.join(parts)}")

    return advance


class SafeStderr:
    """A terminal that may be closed while something is shown on it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 frame`, `2 frames`."""
    return f"{count} {noun}" + "s" * (count != 1)


def format_rate(per_second: float, unit: str = "frames") -> str:
    """Return `24.5 frames/s`, or `3.2 s a frame` where one takes longer than a second."""
    if per_second >= 1 or not per_second:
        return f"{per_second:.1f} {unit}/s"
    article = "an" if unit[0] in "aeiou" else "a"
    return f"{1 / per_second:.1f} s {article} {unit.removesuffix('s')}"


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed number of decimals; `-` for None."""
    return "-" if value is None else f"{value:.{digits}f}"
