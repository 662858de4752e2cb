"""A line about what goes on, without end: updated in place on a terminal, printed now and then elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from nanoseg.utils.terminal import LINE_EVERY_S, SafeStderr, print_error
from nanoseg.utils.text import printable


@contextmanager
def status_line(line: Callable[[], str], *, visible: bool = True) -> Iterator[None]:
    """Show a line on stderr: on a terminal anew each second, else every LINE_EVERY_S seconds.

    Args:
        line: returns the text; called from another thread, and covers the time since its last call.
        visible: False to show nothing.
    """
    console = Console(file=cast(IO[str], SafeStderr(sys.stderr)))
    if not visible:
        yield
        return
    if not console.is_terminal:
        with _every(LINE_EVERY_S, lambda: print_error(line())):
            yield
        return
    live = Live(console=console, transient=True, auto_refresh=False)

    def refresh() -> None:
        live.update(Text(printable(line()), no_wrap=True, overflow="ellipsis"), refresh=True)

    with live, _every(1.0, refresh):
        yield


@contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call a function in a thread, once in so many seconds."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            do()

    thread = threading.Thread(target=run, name="nanoseg-status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(seconds)  # a terminal may be stopped with Ctrl-S
