"""What runs of files and of live sources have in common: what is drawn, and the last line."""

from __future__ import annotations

from collections import Counter

from nanoseg.commands.frame_loop import Annotate
from nanoseg.commands.run_options import RunOptions
from nanoseg.utils.terminal import plural, print_error, print_line

SUMMARY_CLASSES = 5  # names that the summary counts


def annotator(options: RunOptions) -> Annotate | None:
    """Return what draws the objects; None where no output wants it."""
    if options.out is None and not options.show:
        return None
    from nanoseg.sinks.annotate import Annotator

    return Annotator(labels=options.labels, boxes=options.boxes, masks=options.masks)


def class_counts(classes: Counter[str], limit: int | None = None) -> str:
    """Return `3 nut, 1 gear`, with the most frequent classes only where there are more than `limit`."""
    counts = [f"{number} {name}" for name, number in classes.most_common(limit)]
    return ", ".join(counts) + (" ..." if limit is not None and len(classes) > limit else "")


def objects_by_class(objects: int, classes: Counter[str]) -> str:
    """Return `4 objects (3 nut, 1 gear)`."""
    return plural(objects, "object") + (f" ({class_counts(classes, SUMMARY_CLASSES)})" if classes else "")


def print_last_line(line: str, out: str | None, results: str | None, *, nothing_written: bool) -> None:
    """Print the summary with the outputs, unless nothing was written, on stderr where stdout has the results."""
    written = [path for path in (out, results) if path and path != "-"]
    if written and not nothing_written:
        line += " -> " + ", ".join(written)
    (print_error if results == "-" else print_line)(line)
