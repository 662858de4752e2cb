"""`nanoseg bench compare`: two reports, or two bundles in turns."""

from __future__ import annotations

from pathlib import Path

import msgspec

from nanoseg.backends.select import open_pipeline
from nanoseg.benchmark.certificate import read_report
from nanoseg.benchmark.compare import Comparison, compare_interleaved, compare_reports
from nanoseg.benchmark.latency import Effort, FixedObjects, fixed_boxes
from nanoseg.benchmark.report import Report
from nanoseg.benchmark.run import FRAMES
from nanoseg.bundle import open_bundle
from nanoseg.commands.bench.page import comparison_page
from nanoseg.commands.bench.run import DRAWN_EVERY_S, make_folder, parse_objects, parse_size
from nanoseg.commands.bench.table import print_comparison
from nanoseg.errors import DependencyError, UsageError
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.utils.files import write_atomic, write_errors
from nanoseg.utils.terminal import print_error, print_json, progress_bar

COMPARISON = "compare.html"
WARM_UP = 4


def compare_files(first: Path, second: Path, out: Path | None, as_json: bool) -> None:
    """Compare two reports and print the result; raises UsageError for a file that is none, or was changed."""
    comparison = compare_reports(_read(first), _read(second))
    _finish(comparison, str(first), str(second), out, as_json)


def compare_bundles(
    first: str,
    second: str,
    backend: str,
    engines: Path | None,
    objects: str,
    size: str,
    queries: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run two bundles in turns and print the comparison; raises NanosegError."""
    counts, size_wh = parse_objects(objects), parse_size(size)
    bundles = [open_bundle(name) for name in (first, second)]
    if out is not None:
        make_folder(out)
    line = SimulatedLine(seed=1, size_wh=size_wh)
    frames = [line.frame(25 * index) for index in range(FRAMES)]
    comparisons = []
    with (
        FixedObjects(bundles[0], open_pipeline(bundles[0], backend, engines=engines)) as one,
        FixedObjects(bundles[1], open_pipeline(bundles[1], backend, engines=engines)) as other,
    ):
        for count in counts:
            one.boxes = other.boxes = fixed_boxes(count, size_wh)
            title = f"{size}, {count} object{'s' * (count != 1)}, call"
            with progress_bar(title, queries, unit="pairs", every_s=DRAWN_EVERY_S) as advance:
                effort = Effort(queries, 0.0, WARM_UP)
                comparisons.append(compare_interleaved(one, other, frames, effort, title, advance, len(counts)))
    rows = [row for each in comparisons for row in each.rows]
    _finish(Comparison(comparisons[0].level, rows, [], True), first, second, out, as_json)


def _read(path: Path) -> Report:
    report, problems = read_report(path)
    if problems:
        raise UsageError(f"{path}: {'; '.join(problems)}; compare files as nanoseg bench wrote them")
    return report


def _finish(comparison: Comparison, first: str, second: str, out: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(comparison))
    else:
        print_comparison(comparison)
    if out is None:
        return
    make_folder(out)
    try:
        page = comparison_page(comparison, first, second)
    except DependencyError as missing:
        print_error(f"no page: {missing}")
        return
    write_atomic(out / COMPARISON, page.encode(), guard=write_errors)
    if not as_json:
        print_error(f"written: {out / COMPARISON}")
