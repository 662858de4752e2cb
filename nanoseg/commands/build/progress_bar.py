"""A bar for one engine's build: how much is done, and what TensorRT is at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from nanoseg.backends.tensorrt.build.progress import Report


@contextmanager
def build_bar(what: str) -> Iterator[Report]:
    """A bar on stderr where that is a terminal; give it how much is done, 0 to 1, and a word about it."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # TensorRT names layers, which may be long.
        TextColumn("{task.fields[doing]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        console.show_cursor()  # rich hides it, and a build that the system kills for its memory would not bring it back
        task = bar.add_task(what, total=1.0, doing="")

        def report(done: float, doing: str) -> None:
            # It never goes back: the word that the build is being stopped comes without a number.
            bar.update(task, completed=max(done, bar.tasks[0].completed), doing=doing)

        yield report
