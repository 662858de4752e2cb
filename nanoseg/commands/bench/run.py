"""`nanoseg bench`: measure, print, write, and end with 5 where the run is not valid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nanoseg.benchmark.certificate import certify
from nanoseg.benchmark.latency import MAX_OBJECTS, Effort
from nanoseg.benchmark.report import Report
from nanoseg.benchmark.run import MLPERF, QUICK, BenchOptions, run_bench
from nanoseg.commands.bench.page import bench_page
from nanoseg.commands.bench.table import print_report
from nanoseg.errors import DependencyError, EngineError, UsageError
from nanoseg.utils.files import write_all_atomic, write_errors
from nanoseg.utils.folders import try_folder
from nanoseg.utils.names import encode_json
from nanoseg.utils.terminal import plural, print_error, print_json, progress_bar

BENCH, PAGE = "bench.json", "bench.html"
MIN_PX, MAX_PX = 32, 8192
DRAWN_EVERY_S = 5.0  # the progress bar, for which a frame waits: less than one in a hundred from 20 frames a second on
_SHOWN = 40  # characters of a value in a message


@dataclass(frozen=True)
class BenchArguments:
    """The command line."""

    bundle: str
    backend: str
    engines: Path | None
    objects: str
    sizes: tuple[str, ...]
    queries: int | None
    seconds: float | None
    quick: bool
    source: str | None
    out: Path | None
    anyway: bool
    json: bool


def bench(arguments: BenchArguments) -> None:
    """Measure, print and write.

    Raises:
        EngineError: The run is not valid; all is printed and written. Or its engines give wrong answers.
        NanosegError: As `run_bench` raises it.
    """
    effort = QUICK if arguments.quick else MLPERF
    queries = effort.queries if arguments.queries is None else arguments.queries
    options = BenchOptions(
        bundle=arguments.bundle,
        backend=arguments.backend,
        engines=arguments.engines,
        objects=parse_objects(arguments.objects),
        sizes_wh=tuple(parse_size(size) for size in arguments.sizes),
        effort=Effort(
            queries,
            effort.seconds if arguments.seconds is None else arguments.seconds,
            effort.warm_up,
        ),
        quick=queries < MLPERF.queries,
        source=arguments.source,
        anyway=arguments.anyway,
    )
    if arguments.out is not None:
        make_folder(arguments.out)
    report = run_bench(options, bar=partial(progress_bar, unit="frames", every_s=DRAWN_EVERY_S))
    content = certify(report)
    if arguments.json:
        print_json(content)
    else:
        print_report(report)
    if arguments.out is not None:
        _write(report, content, arguments.out, quiet=arguments.json)
    if not report.valid and not arguments.anyway:
        others = f", and {plural(len(report.reasons) - 1, 'further reason')}" if len(report.reasons) > 1 else ""
        raise EngineError(f"not a valid run: {report.reasons[0]}{others}; --anyway takes it all the same")


def parse_objects(text: str) -> tuple[int, ...]:
    """Return the numbers of `1,4,8`; raises UsageError."""
    words = [word.strip() for word in text.split(",")]
    if not all(_is_number(word, 1, MAX_OBJECTS) for word in words):
        raise UsageError(f"--objects: wanted numbers from 1 to {MAX_OBJECTS}, separated by commas, got {_short(text)}")
    return tuple(dict.fromkeys(map(int, words)))


def parse_size(text: str) -> tuple[int, int]:
    """Return the sides of `1280x720`; raises UsageError."""
    words = text.split("x")
    if len(words) != 2 or not all(_is_number(word, MIN_PX, MAX_PX) for word in words):
        raise UsageError(f"--frame: wanted WxH, {MIN_PX}x{MIN_PX} to {MAX_PX}x{MAX_PX}, got {_short(text)}")
    return int(words[0]), int(words[1])


def _is_number(word: str, least: int, most: int) -> bool:
    # int() refuses thousands of digits with an error of its own.
    return word.isascii() and word.isdecimal() and len(word) < 10 and least <= int(word) <= most


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def make_folder(out: Path) -> None:
    """Make the folder of --out before anything is measured; raises UsageError where that cannot be."""
    with write_errors(out, "choose another --out"):
        out.mkdir(parents=True, exist_ok=True)
        try_folder(out)


def _write(report: Report, content: dict[str, object], out: Path, quiet: bool) -> None:
    files = {out / BENCH: encode_json(content) + b"\n"}
    try:
        files[out / PAGE] = bench_page(report, content).encode()
    except DependencyError as missing:
        print_error(f"no page: {missing}")
    write_all_atomic(files, guard=write_errors)
    if not quiet:
        print_error(f"written: {', '.join(map(str, files))}")
