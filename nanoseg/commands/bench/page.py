"""Pages of a benchmark and of a comparison: one HTML file each."""

from __future__ import annotations

from typing import Any

import msgspec

from nanoseg.benchmark.compare import Comparison
from nanoseg.benchmark.report import Report
from nanoseg.commands.bench import plots
from nanoseg.commands.bench.table import (
    comparison_table,
    headline,
    latency_table,
    stage_table,
    summary_rows,
    verdict,
)
from nanoseg.utils.html_page import Figure, Part, Section, Table, Text, html_page

COUNTED = (
    "Counted is from a frame in the host's memory (BGR, as OpenCV delivers it) to the pixels of every object's mask in "
    "the host's memory: resizing, both networks, NMS, the decoder with one box prompt an object, the copy of its "
    "output, and its upsampling to pixels. Reading or capturing the frame, drawing and encoding are not, but for mode "
    "camera, whose age begins with the capture."
)
MODES = (
    "Mode call is one frame after another; stream is the time from one frame's masks to the next one's, which on a GPU "
    "is less than a frame takes, as two are under way. The boxes of the objects are the same in each frame, of 8 % of "
    "its area each, so that their number is what the table says; the detector runs all the same."
)


ESTIMATED = (
    "Estimated, not measured, are the hatched bars and their rows: each stage alone, at 1280x720, in the fastest power "
    "mode, without the host's part (nanoseg estimate). What the host waits for in embed is less, as it runs beside "
    "detect."
)


CAMERA = (
    "Mode camera takes the newest frame of a live source each time, with the objects that are found in it; their "
    "number is the mean. Its latency is the age of a frame when its masks are there."
)


def bench_page(report: Report, content: Any) -> str:
    """Return the page of a report, with `content`, what bench.json holds; raises DependencyError without matplotlib."""
    verdict_text = "Valid: no throttling seen, stable, " + (
        "right answers." if report.answers.right else "answers not checked."
    )
    top: list[Part] = [Text(headline(report) + f", {report.made_at}", "soft")]
    top += (
        [Text(verdict_text, "good")] if report.valid else [Text(f"Not valid: {each}", "bad") for each in report.reasons]
    )
    top += [Text(f"Note: {note}", "note") for note in report.notes]
    modes = CAMERA if any(each.mode == "camera" for each in report.configurations) else MODES
    calls = any("end_to_end" in each.stages for each in report.configurations)
    stage_parts: list[Part] = [
        Table(*stage_table(report), "medians"),
        Figure(plots.stage_bars(report), "Means of the stages, what the host waits for in each."),
    ]
    if any(each.estimate_ms for each in report.configurations):
        stage_parts.append(Text(ESTIMATED, "note"))
    sections = [
        Section("", top),
        Section(
            "Latency",
            [
                Table(*latency_table(report.configurations)),
                Text(COUNTED, "soft"),
                Text(modes, "soft"),
            ],
        ),
        *([Section("Where the time goes", stage_parts)] if calls else []),
        Section(
            "Steadiness",
            [
                Figure(
                    plots.over_time(report),
                    "Medians of successive parts; shaded: from the 10th to the 90th percentile.",
                ),
                Figure(plots.histogram(report), "Distribution; the slowest half percent is left out."),
            ],
        ),
        Section("What was measured where", [Table(["", ""], [row for row in summary_rows(report) if row[1]])]),
        Section(
            "Certificate",
            [
                Text(f"sha256 of this report: {report.sha256}"),
                Text("This page carries the report; nanoseg bench verify checks the bench.json beside it.", "soft"),
            ],
        ),
    ]
    return html_page(f"nanoseg bench: {report.bundle['name']} {report.bundle['version']}", sections, content)


def comparison_page(comparison: Comparison, first: str, second: str) -> str:
    """Return the page of a comparison; raises DependencyError without matplotlib."""
    how = "in turns, pair by pair" if comparison.interleaved else "two reports"
    ratios = "medians, and the mean ratio of pairs, not theirs" if comparison.interleaved else "medians and their ratio"
    warnings = [Text(f"Differs, too: {each}", "bad") for each in comparison.differences]
    differ = any(row.word != "equal" for row in comparison.rows)
    sections = [
        Section(
            "",
            [
                Text(f"{second} against {first}, {how}", "soft"),
                Text(verdict(comparison), "note" if differ else "good"),
                *warnings,
            ],
        ),
        Section(
            "Ratios",
            [
                Table(*comparison_table(comparison), f"{ratios}; the intervals hold for all rows together"),
                Figure(
                    plots.ratio_plot(comparison.rows),
                    "Above 1 the second is slower; grey is no difference beyond the noise.",
                ),
            ],
        ),
    ]
    return html_page("nanoseg bench compare", sections, msgspec.to_builtins(comparison))
