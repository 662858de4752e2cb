"""The page of `nanoseg estimate`: stages, the time by layer as a plot and as a table, and all boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.estimate import Estimate
from nanoseg.benchmark.layer import work_of
from nanoseg.commands.estimate.report import (
    GOALS,
    NO_FIGURE,
    Estimates,
    checked_text,
    comparison,
    ms_range,
    slowest,
    time_text,
)
from nanoseg.utils.html_page import Figure, Part, Section, Table, Text, html_page
from nanoseg.utils.svg_figure import COLOURS, SOFT, SvgFigure

ROWS = 40  # layers in the table; the page's data has all
PARTS = (("memory_ms", "memory"), ("arithmetic_ms", "arithmetic"), ("launch_ms", "launch"))


def page(found: Estimates, report: Mapping[str, Any]) -> str:
    """Return the page as the text of an HTML file that carries the report."""
    some = next(iter(found.devices.values()))
    parts: list[Part] = [
        Text("Estimated; nothing here was measured.", "note"),
        Text(
            f"{found.bundle} {found.version}, {some.objects} objects, a frame of {report['frame']}. A roofline by "
            "layer with constants fitted on published latencies; the errors are those of families of networks that "
            "were left out of the fit. The host's part is not in it.",
        ),
    ]
    sections = [Section("", parts)]
    if found.device is not None:
        sections += _device(found.device, found.devices[found.device])
    if len(found.devices) > 1:
        head, *rows = comparison(found)
        sections.append(Section("All boards, estimated", [*_boards(found), Table(head, rows)]))
    name = "Jetson boards" if found.device is None else BOARDS[found.device].name
    return html_page(f"Estimated: {found.bundle} on {name}", sections, report)


def _device(device: str, estimate: Estimate) -> list[Section]:
    rows = []
    for name, stage in estimate.stages.items():
        work = work_of(each.layer for each in stage.layers)
        products = ", ".join(f"{count:.2f} {precision}" for precision, count in work.gmacs.items()) or "-"
        binding = "-" if stage.ms is None else stage.binds
        time = time_text(stage.ms, stage.band.error)
        rows.append([name, time, binding, str(work.kernels), f"{work.traffic_mb:.1f}", products, checked_text(stage)])
    for name, ms in (("call", estimate.call_ms), ("stream", estimate.stream_ms)):
        rows.append([name, time_text(ms, estimate.error, rate=True), "", "", "", "", f"off by {estimate.error:.0%}"])
    head = ["stage", "estimated", "binds", "kernels", "MB", "G multiply-adds", "error"]
    parts: list[Part] = [Table(head, rows, "A call has one frame in flight; in a stream frames overlap")]
    if not estimate.is_checked:
        parts.append(Text(f"{BOARDS[device].name}: {NO_FIGURE}.", "bad"))
    layers = [
        [
            name,
            each.layer.name,
            each.layer.precision or "-",
            f"{each.ms:.3f}",
            f"{each.layer.traffic_bytes / 1e6:.2f}",
            f"{each.layer.macs / 1e9:.3f}",
        ]
        for name, each in slowest(estimate)[:ROWS]
    ]
    caption = f"The {len(layers)} that take longest, of {sum(len(stage.layers) for stage in estimate.stages.values())}"
    table = Table(["stage", "layer", "precision", "estimated ms", "MB", "G multiply-adds"], layers, caption)
    return [
        Section("By stage, estimated", parts),
        Section("By layer, estimated", [*_plots(estimate), table]),
    ]


def _plots(estimate: Estimate) -> list[Figure]:
    """Return a figure a stage: the time of each layer in their order, by what it is made of."""
    figures = []
    for name, stage in estimate.stages.items():
        if stage.ms is None or not stage.layers:
            continue
        with SvgFigure(height_in=2.6) as drawn:
            edges = [layer + 0.5 for layer in range(len(stage.layers) + 1)]
            below = [0.0] * len(stage.layers)
            for colour, (kind, label) in zip(COLOURS, PARTS, strict=False):
                # Memory and arithmetic overlap: each has its share of the time that both take.
                top = [one + _share(each, kind) for one, each in zip(below, stage.layers, strict=True)]
                drawn.axes.stairs(top, edges, baseline=below, fill=True, color=colour, label=label)
                below = top
            drawn.axes.set_xlabel("layer, in their order")
            drawn.axes.xaxis.get_major_locator().set_params(integer=True)
            drawn.axes.set_ylabel("estimated ms")
            drawn.axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(PARTS))
        caption = f"{name}: {time_text(stage.ms, stage.band.error)}, estimated; {len(stage.layers)} layers"
        figures.append(Figure(drawn.svg, caption))
    return figures


def _share(each: Any, kind: str) -> float:
    if kind == "launch_ms":
        return float(each.launch_ms)
    both = each.memory_ms + each.arithmetic_ms
    return float(getattr(each, kind) / both * each.busy_ms) if both else 0.0


def _boards(found: Estimates) -> list[Part]:
    """Return a figure of the frames a second in each mode."""
    if any(each.call_ms is None for each in found.devices.values()):
        return [Text("Not estimated: the error of a family of networks is too large.", "bad")]
    modes = {
        "in calls, one frame in flight": [each.call_ms or 0.0 for each in found.devices.values()],
        "in a stream": [each.stream_ms or 0.0 for each in found.devices.values()],
    }
    return [_rates(found, mode, times) for mode, times in modes.items()]


def _rates(found: Estimates, mode: str, times_ms: Sequence[float]) -> Figure:
    """Return the frames a second of all boards with their errors, and the goals."""
    with SvgFigure(height_in=3.0) as drawn:
        for row, (ms, each) in enumerate(zip(times_ms, found.devices.values(), strict=True)):
            low, high = (1000 / limit for limit in reversed(ms_range(ms, each.error)))
            drawn.axes.plot([low, high], [row, row], color=COLOURS[0], linewidth=6, solid_capstyle="butt", alpha=0.5)
            drawn.axes.plot([1000 / ms], [row], "o", color=COLOURS[0], fillstyle="full" if each.is_checked else "none")
            drawn.axes.text(high, row, f"  {1000 / ms:.0f}", va="center", color=SOFT)
        drawn.axes.set_yticks(range(len(times_ms)), [BOARDS[name].name for name in found.devices])
        drawn.axes.invert_yaxis()
        for goal in GOALS:
            drawn.axes.axvline(goal, color=SOFT, linestyle=":", linewidth=1)
        drawn.axes.set_xlim(0, 1.15 * drawn.axes.get_xlim()[1])
        drawn.axes.set_xlabel("frames a second, estimated")
    return Figure(
        drawn.svg, f"{mode}, estimated, with its error; dotted: {GOALS[0]} and {GOALS[1]}; hollow: {NO_FIGURE}"
    )
