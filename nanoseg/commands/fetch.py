"""`nanoseg fetch`: the list of published weights, and their download with a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from nanoseg.errors import UsageError
from nanoseg.utils.terminal import print_error, print_json, print_line
from nanoseg.weights.download import OnProgress
from nanoseg.weights.fetch import fetch, trust
from nanoseg.weights.published import PUBLISHED, Weights


def print_list(as_json: bool) -> None:
    """Print what can be fetched: a table, one line each, or JSON."""
    if as_json:
        print_json([asdict(weights) for weights in PUBLISHED])
        return
    rows = [("name", "MB", "licence", "for bundle make", "file")]
    for weights in PUBLISHED:
        size = "?" if weights.bytes is None else f"{weights.bytes / 1e6:.0f}"
        rows.append((weights.name, size, weights.licence.name, weights.use, weights.file))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def fetch_weights(
    names: Sequence[str],
    out: Path,
    url: str | None,
    accept_licence: bool,
    forget_hash: bool,
    trust_file: bool,
    as_json: bool,
) -> None:
    """Fetch weights by name, or trust the files that are there; raises NanosegError."""
    if not names:
        raise UsageError("wanted the name of weights, got none; --list shows them")
    if url and len(names) > 1:
        raise UsageError("--url: wanted one name with it, got more")
    if trust_file and (url or forget_hash):
        raise UsageError("--trust-file: wanted without --url and --forget-hash, as nothing is fetched")
    fetched = []
    for weights in select(names, accept_licence):
        licence = weights.licence
        print_error(f"{weights.name}: {licence.name}: {licence.summary} ({licence.url})")
        if trust_file:
            path = trust(weights, out)
        else:
            with download_bar(weights.file) as progress:
                path = fetch(weights, out, url=url, forget_hash=forget_hash, progress=progress)
        fetched.append({"name": weights.name, "path": str(path), "bytes": path.stat().st_size})
        if not as_json:
            print_line(str(path))
    if as_json:
        print_json(fetched)


def select(names: Sequence[str], accept_licence: bool) -> list[Weights]:
    """Return the weights of these names.

    Raises:
        UsageError: There are no such weights, or their terms were not accepted.
    """
    published = {weights.name: weights for weights in PUBLISHED}
    for name in names:
        if name not in published:
            raise UsageError(f"{name}: no such weights; wanted one of {', '.join(published)}")
        licence = published[name].licence
        if licence.must_accept and not accept_licence:
            terms = f"{licence.name}, {licence.summary} ({licence.url})"
            raise UsageError(f"{name}: read its terms: {terms}; if you accept them: --accept-licence")
    return [published[name] for name in names]


@contextmanager
def download_bar(title: str) -> Iterator[OnProgress]:
    """Show bytes, speed and remaining time on stderr, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda received, total: bar.update(task, completed=received, total=total)
