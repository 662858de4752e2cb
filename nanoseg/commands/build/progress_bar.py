"""A progress bar for one engine's build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from nanoseg.backends.tensorrt.build.progress import ProgressCallback


@contextmanager
def build_bar(description: str) -> Iterator[ProgressCallback]:
    """Show a bar on stderr where that is a terminal; yields the function that updates it."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # TensorRT names layers, which may be long.
        TextColumn("{task.fields[phase]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        console.show_cursor()  # rich hides it, and a build killed for its memory use would leave it hidden
        task = bar.add_task(description, total=1.0, phase="")

        def update(done: float, phase: str) -> None:
            # It never goes back: the message that the build is being stopped comes with 0.
            bar.update(task, completed=max(done, bar.tasks[0].completed), phase=phase)

        yield update
