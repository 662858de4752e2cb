"""Print the report of a conversion to float16 as a table, and write it as report.json and report.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanoseg.onnx_graphs.fp16.keep_fp32 import LARGEST
from nanoseg.onnx_graphs.fp16.overflow import MARGIN
from nanoseg.onnx_graphs.fp16.report import Fp16Report, LayerHeadroom
from nanoseg.utils.names import encode_json
from nanoseg.utils.terminal import format_number, plural, print_table

REPORT, PAGE = "report.json", "report.md"
MAX_ROWS = 10  # of the layers, on the terminal
# They only move the numbers of the layer before, which is listed instead.
MOVING = frozenset({
    "Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip


def print_report(report: Fp16Report, folder: Path | None) -> None:
    """Print the report as a table to stdout; `folder` is where its files are, if there are any."""
    title = f"{report.network} -> {report.out}"
    print_table(title, [*_rows(report), ("report", str(folder / PAGE) if folder else "")])
    layers = _shown(report)
    shown = layers[:MAX_ROWS]
    wide = max(len("least headroom"), *(len(layer.layer) for layer in shown))
    print(f"  {'least headroom':{wide}}  {'operator':16}  {'largest':>9}  {'to float16 limit':>16}")
    for layer in shown:
        print(
            f"  {layer.layer:{wide}}  {layer.op:16}  {_peak(layer):>9}  {_headroom(layer):>16}  {_kept(layer)}".rstrip()
        )
    if rest := len(layers) - len(shown):
        where = f"; all of them: {folder / PAGE}" if folder else "; all of them with --report DIR"
        print(f"  and {plural(rest, 'further layer')}{where}")


def report_files(report: Fp16Report, folder: Path) -> dict[Path, bytes]:
    """Return the contents of the report's files by path."""
    data = encode_json(report, indent=True)
    return {folder / REPORT: data, folder / PAGE: page(report).encode()}


def page(report: Fp16Report) -> str:
    """Return the report as a Markdown page, report.md."""
    lines = [f"# {Path(report.network).name} in float16", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _rows(report) if value]
    lines += [
        "",
        f"The largest number of float16 is {LARGEST:.0f}. A layer that comes within {MARGIN:g} times of it on the",
        "images stays float32, and so do its readers: other images may have larger activations.",
        "",
        "| layer | | largest | to float16's limit | |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {layer.layer} | {layer.op} | {_peak(layer)} | {_headroom(layer)} | {_kept(layer)} |"
        for layer in _shown(report)
    ]
    return "\n".join(lines) + "\n"


def _rows(report: Fp16Report) -> list[tuple[str, str]]:
    """Return the report's rows (name, value), without the layers."""
    images, masks = report.pictures, report.masks
    stay = [f"{number} {op}" for op, number in report.float32.items()]
    stay += [f"the box decode ({plural(report.decode, 'node')})"] if report.decode else []
    rows = [
        ("measured on", f"{plural(images.measured_on, 'image')} of {images.source}"),
        ("in float32", ", ".join(stay)),
        ("too large", ", ".join(report.too_large)),
        ("compared on", plural(images.compared_on, "image")),
    ]
    which = ", of the 300 best detections" if report.kind == "detector" else ""
    rows += [
        (each.name, f"cosine {each.cosine:.7f}, minimum {each.cosine_least:.7f}, "
         f"largest difference {each.largest_difference:.3g}{which}")
        for each in report.outputs
    ]  # fmt: skip
    if masks is not None:
        prompts = "1 box" if masks.prompts == 1 else f"{masks.prompts} boxes"
        prompts += " of the annotations" if masks.of_true_boxes else " of a grid"
        alike = f"IoU {format_number(masks.alike, 4)} of float16 with float32, worst {format_number(masks.worst, 4)}"
        rows.append(("masks", f"{alike}, {prompts}"))
        if masks.miou_float32 is not None and masks.miou_float16 is not None:
            lost = masks.miou_float32 - masks.miou_float16
            single, half = format_number(masks.miou_float32, 4), format_number(masks.miou_float16, 4)
            rows.append(("mIoU", f"{single} in float32, {half} in float16: costs {lost:.4f}"))
    size = f"{report.bytes_before / 1e6:.1f} MB -> {report.bytes / 1e6:.1f} MB"
    return [*rows, ("size", size), ("took", f"{report.seconds:.0f} s")]


def _shown(report: Fp16Report) -> Sequence[LayerHeadroom]:
    return [layer for layer in report.layers if layer.op not in MOVING] or report.layers


def _peak(layer: LayerHeadroom) -> str:
    return "infinite" if layer.peak is None else f"{layer.peak:.4g}"


def _headroom(layer: LayerHeadroom) -> str:
    return "-" if layer.headroom is None else f"{layer.headroom:,.{0 if layer.headroom >= 10 else 1}f} times"


def _kept(layer: LayerHeadroom) -> str:
    return "" if layer.float16 else "float32"
