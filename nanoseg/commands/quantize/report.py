"""Print a quantization's report as a table, and write it as report.json, report.md and sensitivity.png."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from nanoseg.errors import needs
from nanoseg.onnx_graphs.int8.report import AccuracyReport, QuantizedLayer, QuantizeReport
from nanoseg.utils.names import encode_json
from nanoseg.utils.terminal import format_number, plural, print_table

REPORT, PAGE, PLOT = "report.json", "report.md", "sensitivity.png"
MAX_ROWS = 10  # of the layers, on the terminal
INT8_COLOUR, FLOAT_COLOUR = "#0072b2", "#d55e00"  # distinct for colour-blind readers, too


def print_report(report: QuantizeReport, folder: Path | None) -> None:
    """Print the report as a table to stdout; `folder` is where its files are, if there are any."""
    title = f"{report.detector} -> {report.out or 'nothing written'}"
    print_table(title, [*_rows(report), ("report", str(folder / PAGE) if folder else "")])
    ranked = _ranked(report)
    if not ranked:
        return
    shown = ranked[:MAX_ROWS]
    wide = max(len("most sensitive layers"), *(len(layer.name) for layer in shown))
    print(f"  {'most sensitive layers':{wide}}  {'error':>9}  {'of all MACs':>11}")
    for layer in shown:
        print(f"  {layer.name:{wide}}  {layer.error:9.5f}  {_share(report, [layer]):>11}  {_kept(layer)}".rstrip())
    if rest := len(ranked) - len(shown):
        where = f"; all of them: {folder / PAGE}" if folder else "; all of them with --report DIR"
        print(f"  and {plural(rest, 'further layer')}{where}")


def report_files(report: QuantizeReport, folder: Path) -> dict[Path, bytes]:
    """Return the contents of the report's files by path; raises DependencyError where matplotlib is missing."""
    files = {folder / REPORT: encode_json(report, indent=True)}
    if _ranked(report):
        files[folder / PLOT] = plot(report)
    files[folder / PAGE] = page(report).encode()
    return files


def page(report: QuantizeReport) -> str:
    """Return the report as a Markdown page, report.md."""
    lines = [f"# {Path(report.detector).name} in INT8", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _rows(report) if value]
    ranked = _ranked(report)
    if ranked:
        lines += ["", f"![sensitivity by layer]({PLOT})", ""]
        lines += [
            "The error is that of one layer alone in INT8: how far a score moves, plus how far a box's sides move",
            "as a share of its size, in the mean over the 300 best detections of each image. After ± stands the",
            "standard error of a drop: how much it depends on which images it was measured on.",
            "",
            "| layer | error | of all MACs | runs in |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {layer.name} | {layer.error:.5f} | {_share(report, [layer])} | "
            f"{'INT8' if layer.int8 else report.rest} |"
            for layer in ranked
        ]
    return "\n".join(lines) + "\n"


def plot(report: QuantizeReport) -> bytes:
    """Return a PNG with a bar of sensitivity for each layer; raises DependencyError without matplotlib."""
    figure_class = import_figure()
    layers = [layer for layer in report.layers if layer.error is not None]
    figure = figure_class(figsize=(9, 2 + 0.17 * len(layers)), layout="constrained")
    axis = figure.subplots()
    for int8, colour, label in ((True, INT8_COLOUR, "INT8"), (False, FLOAT_COLOUR, f"kept in {report.rest}")):
        positions = [position for position, layer in enumerate(layers) if layer.int8 is int8]
        if positions:
            axis.barh(positions, [layers[position].error or 0.0 for position in positions], color=colour, label=label)
    axis.set_yticks(range(len(layers)), [layer.name for layer in layers], fontsize=7)
    axis.set_ylim(len(layers) - 0.4, -0.6)
    if any(layer.error for layer in layers):
        axis.set_xscale("log")
    axis.set_xlabel("error of scores and boxes with this layer alone in INT8")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(loc="lower right")
    figure.suptitle(f"{Path(report.detector).name}: {_headline(report)}", fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def import_figure() -> type:
    """Return matplotlib's Figure class; raises DependencyError without matplotlib."""
    with needs("matplotlib", "quantize"):
        from matplotlib.figure import Figure  # not pyplot, which looks for a display and takes longer to import
    found: type = Figure
    return found


def _headline(report: QuantizeReport) -> str:
    if report.accuracy is None:
        return "mAP not measured, as the images have no annotations"
    a = report.accuracy
    text = (
        f"mAP50-95 {format_number(a.float32.map50_95, 4)} in float32, {format_number(a.all_int8.map50_95, 4)} in INT8"
    )
    if report.kept:
        text += (
            f",\n{format_number(a.written.map50_95, 4)} with {plural(len(report.kept), 'layer')} kept in {report.rest}"
        )
    return text


def _rows(report: QuantizeReport) -> list[tuple[str, str]]:
    """Return the report's rows (name, value), without the layers."""
    images, a = report.pictures, report.accuracy
    method = report.method + (f" {report.percentile:g}" if report.percentile is not None else "")
    int8 = [layer for layer in report.layers if layer.int8]
    rows = [
        ("calibrated on", f"{plural(images.calibrated_on, 'image')} of {images.source}, {method}"),
        ("in INT8", f"{len(int8)} of {plural(len(report.layers), 'layer')}, {_share(report, int8)} of all MACs; "
         f"the rest {report.rest}"),
        ("kept out", ", ".join(report.kept)),
    ]  # fmt: skip
    if a is None:
        rows.append(("mAP50-95", f"not measured: {images.split}"))
    else:
        rows += [
            ("measured on", f"{plural(images.judged_on, 'image')}, {images.split}"),
            ("float32", _format_accuracy(a.float32)),
            ("all in INT8", _format_accuracy(a.all_int8)),
        ]
        if report.kept or report.rest != "fp32":
            rows.append(("as written" if report.out else "as tried", _format_accuracy(a.written)))
    for each in report.agreement:
        if each.score_difference is not None and each.box_iou is not None:
            where = f"{plural(each.images, 'image')}, {each.source}"
            text = f"scores differ by {each.score_difference:.1%} from float32, mean IoU of boxes {each.box_iou:.3f}"
            if each.keypoint_shift is not None:
                text += f", keypoints move by {each.keypoint_shift:.1%} of the box"
            rows.append(("agreement", f"{text}: {where}"))
    if report.refused is not None:
        rows.append(("refused", report.refused))
    if report.max_drop is not None:
        budget = report.max_drop
        how = f"reached: {budget.reason}" if budget.reached else budget.reason
        rows.append(("budget", f"{budget.points:g} points of mAP50-95, {how}"))
        if len(budget.tried) > 1:
            tried = ", ".join(f"{step.drop_points:.2f} with {step.kept}" for step in budget.tried)
            rows.append(("tried", f"points lost by the number of layers kept out: {tried}"))
    size = f"{report.bytes_before / 1e6:.1f} MB"
    rows.append(("size", size if report.bytes is None else f"{size} -> {report.bytes / 1e6:.1f} MB"))
    rows.append(("took", f"{report.seconds:.0f} s"))
    return rows


def _format_accuracy(accuracy: AccuracyReport) -> str:
    text = f"mAP50-95 {format_number(accuracy.map50_95, 4)}, mAP50 {format_number(accuracy.map50, 4)}"
    if accuracy.drop_points is not None:
        error = "" if accuracy.drop_error is None else f" ± {accuracy.drop_error:.2f}"
        text += f": {accuracy.drop_points:.2f}{error} points of mAP50-95 lost"
    return text


def _ranked(report: QuantizeReport) -> list[QuantizedLayer]:
    """Return the layers whose sensitivity was measured, the most sensitive first."""
    known = [layer for layer in report.layers if layer.error is not None]
    return sorted(known, key=lambda layer: -(layer.error or 0.0))


def _share(report: QuantizeReport, some: Sequence[QuantizedLayer]) -> str:
    """Return the share of some layers in all multiply-adds, in percent; `-` where shapes are dynamic."""
    all_macs = [layer.macs for layer in report.layers]
    if None in all_macs or not (total := sum(filter(None, all_macs))):
        return "-"
    return f"{100 * sum(layer.macs or 0 for layer in some) / total:.1f} %"


def _kept(layer: QuantizedLayer) -> str:
    return "" if layer.int8 else "kept out"
