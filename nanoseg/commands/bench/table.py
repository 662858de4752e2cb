"""A report of the benchmark as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from nanoseg.benchmark.compare import Comparison
from nanoseg.benchmark.latency import STAGES
from nanoseg.benchmark.report import Configuration, Report
from nanoseg.utils.terminal import print_line, print_table

WHOLE = ("p50", "p90", "p95", "p99", "max")


def print_report(report: Report) -> None:
    """Print a report."""
    print_table(headline(report), summary_rows(report))
    print_line("")
    print_grid(*latency_table(report.configurations))
    print_line("")
    print_grid(*stage_table(report))
    for note in report.notes:
        print_line(f"note: {note}")
    for reason in report.reasons:
        print_line(f"NOT VALID: {reason}")


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison."""
    for line in comparison.differences:
        print_line(f"differs: {line}")
    print_grid(*comparison_table(comparison))
    print_line(verdict(comparison))


def headline(report: Report) -> str:
    """Return `parts 3 on EPYC: onnxruntime, CPU, 2 threads`."""
    # A file that is verified may be without any of these names.
    board, cpu, gpu, jetson = (report.environment.get(name) for name in ("board", "cpu", "gpu", "jetson"))
    where = [board] if jetson else [cpu or board, gpu]
    names = " and ".join(str(each) for each in where if each) or "a machine without a name"
    bundle = f"{report.bundle.get('name', 'a bundle without a name')} {report.bundle.get('version', '')}".rstrip()
    return f"{bundle} on {names}: {report.backend}, {report.device}"


def summary_rows(report: Report) -> list[tuple[str, str]]:
    """Return names and values of what was measured where; values that are not known are left out."""
    environment, board, memory = report.environment, report.board, report.memory
    precision = ", ".join(f"{name} {value}" for name, value in report.bundle["precision"].items())
    heats = [each for each in board["hottest_c"] if each is not None]
    engines = {f"{each['gpu']}, TensorRT {each['tensorrt']}, {each['kind']}" for each in report.engines}
    return [
        ("valid", "yes" if report.valid else "NO"),
        ("answers", report.answers.summary + _overlaps(report)),
        ("counted", "from a frame in the host's memory to the pixels of every mask in the host's memory"),
        ("bundle", f"sha256 {report.bundle['sha256'][:12]}; {precision}"),
        ("accuracy", _accuracy(report)),
        ("engines", "; ".join(sorted(engines))),
        ("system", ", ".join(filter(None, (environment["jetpack"], environment["system"])))),
        ("TensorRT", environment["tensorrt"] or ""),
        ("libraries", ", ".join(f"{name} {value}" for name, value in environment["libraries"].items())),
        ("power mode", environment["power_mode"] or ""),
        ("clocks", _clocks(environment)),
        ("load", _load(environment)),
        ("temperature", f"{min(heats):.1f} to {max(heats):.1f} °C" if heats else ""),
        ("power", _power(board)),
        ("memory", _memory(memory)),
    ]


def latency_table(configurations: Sequence[Configuration]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of whole frames."""
    energy = any(each.joules_per_frame is not None for each in configurations)
    head = ["frame", "objects", "mode", *(f"{name} ms" for name in WHOLE), "frames/s", *(["J/frame"] if energy else [])]
    rows = []
    for each in configurations:
        whole = each.whole.percentiles_ms
        joules = [] if not energy else ["-" if each.joules_per_frame is None else f"{each.joules_per_frame:.3f}"]
        figures = [f"{whole[name]:.2f}" for name in WHOLE]
        mode = each.mode + ("" if each.stable else " (unstable)")
        rows.append([each.frame, f"{each.objects:g}", mode, *figures, f"{each.frames_per_s:.2f}", *joules])
    return head, rows


def stage_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the medians of stages, with what was estimated of them in rows of their own."""
    head = ["p50 ms of", "", *STAGES, "end to end"]
    rows = []
    for each in report.configurations:
        if "end_to_end" not in each.stages:
            continue
        figures = [f"{_p50(each, stage):.2f}" for stage in (*STAGES, "end_to_end")]
        rows.append([each.frame, f"{each.objects:g} obj.", *figures])
        if known := each.estimate_ms:
            figures = [f"{known[stage]:.2f}" if stage in known else "-" for stage in STAGES]
            rows.append(["  estimated", f"{each.objects:g} obj.", *figures, "-"])
    return head, rows


def comparison_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a comparison; words stand only where the two differ."""
    head = ["configuration", "stage", "first ms", "second ms", "ratio", f"{comparison.level:.0%} interval", ""]
    return head, [
        [
            row.title,
            row.stage.replace("_", " "),
            f"{row.first_ms:.2f}",
            f"{row.second_ms:.2f}",
            f"{row.ratio:.3f}",
            f"[{row.low:.3f}, {row.high:.3f}]",
            "" if row.word == "equal" else row.word,
        ]
        for row in comparison.rows
    ]


def verdict(comparison: Comparison) -> str:
    """Return the result in a line."""
    whole = [row for row in comparison.rows if row.whole and row.word != "equal"]
    stages = [row for row in comparison.rows if not row.whole and row.word != "equal"]
    if not whole and not stages:
        return "no difference beyond the noise of these runs"
    said = [f"{row.title}: {row.word}, {abs(row.ratio - 1):.1%}" for row in whole]
    if not whole:
        said.append("whole frames: no difference beyond the noise")
    if stages:
        names = dict.fromkeys(f"{row.stage} {row.word}" for row in stages)
        said.append(f"stages: {', '.join(names)}")
    return "; ".join(said)


def print_grid(head: list[str], rows: list[list[str]]) -> None:
    """Print a table to stdout; on a narrow terminal cells are wrapped, in a file nothing is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index < 1 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, emoji=False)
    console = console if console.is_terminal else Console(width=200, highlight=False, markup=False, emoji=False)
    console.print(table)


def _p50(each: Configuration, stage: str) -> float:
    return each.stages[stage].percentiles_ms["p50"] if stage in each.stages else 0.0


def _overlaps(report: Report) -> str:
    if report.answers.box_iou is None:
        return ""
    return f"; mean IoU with them: boxes {report.answers.box_iou:.3f}, masks {report.answers.mask_iou:.3f}"


def _accuracy(report: Report) -> str:
    measured = report.bundle["accuracy"].get("deployed") or report.bundle["accuracy"].get("float32")
    if not measured:
        return "not measured: a latency without it says little"
    where = f" on {measured['dataset']}" if measured.get("dataset") else ""
    return f"mAP50-95 {measured['map50_95']:.3f}, mIoU {measured['miou']:.3f}{where}, by the bundle"


def _clocks(environment: dict[str, Any]) -> str:
    locked = {True: "locked", False: "not locked", None: "not known"}[environment["clocks_locked"]]
    return locked + (f", governor {environment['governor']}" if environment["governor"] else "")


def _load(environment: dict[str, Any]) -> str:
    share, average = environment["cpu_share_of_others"], environment["load_average"]
    parts = [
        "" if average is None else f"load average {average:g} before",
        "" if share is None else f"{share:.0%} of processor time by others",
    ]
    return ", ".join(filter(None, parts))


def _power(board: dict[str, Any]) -> str:
    known = [each for each in board["watts"] if each is not None]
    if not known:
        return "not known"
    idle = "" if board["idle_watts"] is None else f", idle {board['idle_watts']:.2f} W"
    return f"mean {sum(known) / len(known):.2f} W{idle}: {board['watts_of']}; joules a frame hold the idle part, too"


def _memory(memory: dict[str, float | None]) -> str:
    names = {
        "host_peak_mb": "host {:.0f} MB at its peak",
        "host_before_mb": "{:.0f} MB before the bundle",
        "device_mb": "device {:.0f} MB",
        "device_planned_mb": "engines {:.0f} MB by their records",
    }
    return ", ".join(text.format(memory[name]) for name, text in names.items() if memory.get(name) is not None)
