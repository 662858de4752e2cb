"""The figures of a benchmark's page: stages, latency over time with temperature, distribution, ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanoseg.benchmark.compare import Row
from nanoseg.benchmark.latency import STAGES
from nanoseg.benchmark.report import Configuration, Report
from nanoseg.utils.svg_figure import COLOURS, INK, SOFT, SvgFigure

BINS = 60  # of a series over time
HISTOGRAM_BINS = 50
_BAR_IN, _MARGIN_IN = 0.42, 1.35


def stage_bars(report: Report) -> str:
    """Return stacked bars of the mean time of each stage, and of the estimates, hatched, where there are some.

    Means, as those of stages add up; medians do not.
    """
    bars = []
    for each in report.configurations:
        if "end_to_end" in each.stages:
            means = [each.stages[stage].percentiles_ms["mean"] for stage in STAGES]
            bars.append((short_title(each, report), means, False))
            if each.estimate_ms:
                bars.append(("estimated", [each.estimate_ms.get(stage, 0.0) for stage in STAGES], True))
    with SvgFigure(height_in=_MARGIN_IN + _BAR_IN * len(bars)) as drawn:
        for index, stage in enumerate(STAGES):
            for position, (_, spent, estimated) in enumerate(bars):
                drawn.axes.barh(
                    position,
                    spent[index],
                    left=sum(spent[:index]),
                    color=COLOURS[index],
                    alpha=0.45 if estimated else 1.0,
                    hatch="//" if estimated else "",
                    label=stage if position == 0 else None,
                )
        drawn.axes.set_yticks(range(len(bars)), [title for title, *_ in bars])
        drawn.axes.invert_yaxis()
        drawn.axes.set_xlabel("mean time (ms)")
        drawn.axes.grid(axis="x")
        drawn.figure.legend(loc="outside upper center", ncols=len(STAGES), columnspacing=1.0, handlelength=1.2)
    return drawn.svg


def over_time(report: Report) -> str:
    """Return the latency of whole frames over the run, and the board's highest temperature."""
    with SvgFigure(height_in=3.6) as drawn:
        titles = list(dict.fromkeys(short_title(each, report) for each in report.configurations))
        for each in report.configurations:
            values = each.whole.values_ms()
            parts = [part for part in np.array_split(values, BINS) if len(part)]
            at_s = each.began_s + (np.arange(len(parts)) + 0.5) * each.seconds / len(parts)
            title = short_title(each, report)
            colour = COLOURS[titles.index(title) % len(COLOURS)]
            low, middle, high = (np.array([np.percentile(part, percent) for part in parts]) for percent in (10, 50, 90))
            drawn.axes.fill_between(at_s, low, high, color=colour, alpha=0.25, linewidth=0)
            line = "-" if each.mode != "stream" else ":"
            drawn.axes.plot(at_s, middle, line, color=colour, linewidth=1.2, label=f"{title}, {each.mode}")
        drawn.axes.set_ylim(bottom=0)
        drawn.axes.set_xlabel("time (s)")
        drawn.axes.set_ylabel("latency (ms)")
        drawn.axes.grid(axis="y")
        known = [pair for pair in zip(report.board["at_s"], report.board["hottest_c"], strict=True) if None not in pair]
        if known:
            heat_axes = drawn.axes.twinx()
            heat_axes.plot(*zip(*known, strict=True), color=INK, linewidth=1, linestyle="--")
            heat_axes.set_ylabel("temperature (°C), dashed")
            heat_axes.spines["right"].set_visible(True)
        drawn.figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    return drawn.svg


def histogram(report: Report) -> str:
    """Return the distribution of whole frames' latencies up to the 99.5th percentile."""
    with SvgFigure(height_in=3.2) as drawn:
        calls = [each for each in report.configurations if each.mode != "stream"] or report.configurations
        values = [each.whole.values_ms() for each in calls]
        top = max(float(np.percentile(each, 99.5)) for each in values)
        edges = np.linspace(min(float(each.min()) for each in values), top, HISTOGRAM_BINS + 1)
        for index, (each, spent) in enumerate(zip(calls, values, strict=True)):
            shares = np.histogram(spent, edges)[0] / len(spent)
            drawn.axes.stairs(100 * shares, edges, color=COLOURS[index % len(COLOURS)], label=short_title(each, report))
        drawn.axes.set_xlabel("latency of a whole frame (ms)")
        drawn.axes.set_ylabel("frames (%)")
        drawn.axes.grid(axis="y")
        drawn.figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    return drawn.svg


def ratio_plot(rows: Sequence[Row]) -> str:
    """Return ratios with their intervals."""
    with SvgFigure(height_in=_MARGIN_IN + 0.26 * len(rows)) as drawn:
        for position, row in enumerate(rows):
            colour = {"equal": SOFT, "slower": COLOURS[1], "faster": COLOURS[2]}[row.word]
            drawn.axes.plot([row.low, row.high], [position, position], color=colour, linewidth=3)
            drawn.axes.plot([row.ratio], [position], "o", color=colour)
        drawn.axes.axvline(1, color=INK, linewidth=1)
        frames = {row.title.partition(", ")[0] for row in rows}
        titles = [row.title if len(frames) > 1 else row.title.partition(", ")[2] for row in rows]
        one = len(set(titles)) == 1
        stages = [row.stage.replace("_", " ") for row in rows]
        labels = stages if one else [f"{title}: {stage}" for title, stage in zip(titles, stages, strict=True)]
        drawn.axes.set_yticks(range(len(rows)), labels, fontsize="small" if one else "x-small")
        drawn.axes.invert_yaxis()
        drawn.axes.set_xlabel("second / first")
        drawn.axes.grid(axis="x")
    return drawn.svg


def short_title(each: Configuration, report: Report) -> str:
    """Return what tells a configuration from the others: `8 objects`, with the frame's size where there are several."""
    sizes = {other.frame for other in report.configurations}
    objects = f"{each.objects:g} object{'s' * (each.objects != 1)}"
    return f"{each.frame}, {objects}" if len(sizes) > 1 else objects
