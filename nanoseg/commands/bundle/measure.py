"""Measure a bundle against truth: as float32, as deployed in its own precisions, and as a CPU runs it.

examples:
  python tools/measure_bundle.py --bundle bundles/mine --float bundles/mine-float32 --out accuracy.json
  python tools/measure_bundle.py --bundle bundles/coco --images val2017/ --annotations instances_val2017.json

Without --images the pictures are the frames of `nanoseg demo`. What --out gets is what make_bundle.py --accuracy reads.
"deployed" runs the graphs by ONNX Runtime with every number rounded as they have it: Q/DQ nodes as they stand, float16
after each operator. "cpu" is what `nanoseg run` does on a computer without a GPU: the same bundle in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from nanoseg.bundle import open_bundle
from nanoseg.bundle.manifest import Accuracy, AccuracyTable
from nanoseg.commands.run_tool import NOTHING_WRITTEN, run_tool
from nanoseg.errors import UsageError
from nanoseg.utils.files import check_writable, file_ids, write_atomic, write_errors
from nanoseg.utils.terminal import plural, print_table, progress_bar


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    options = _parser().parse_args(arguments)
    return run_tool("measure_bundle", lambda: run(options), NOTHING_WRITTEN)


def run(options: argparse.Namespace) -> None:
    """Measure, print the result, and write --out; raises NanosegError."""
    # Here, so that a missing library is reported in one line.
    from nanoseg.bundle.measure import DEPLOYED, FLOAT32, measure_bundle, open_labelled_images

    if options.frames < 1:
        raise UsageError(f"--frames: wanted 1 or more, got {options.frames}")
    if options.out is not None:
        check_writable(options.out)
        if options.annotations is not None and file_ids([options.out]) & file_ids([options.annotations]):
            raise UsageError(f"--out: {options.out} is what --annotations names; give another name")
    bundle = open_bundle(options.bundle)
    float_bundle = None if options.float is None else open_bundle(options.float)
    images = open_labelled_images(options.images, options.annotations, options.frames)
    with progress_bar(images.dataset, images.count, unit="pictures") as advance:
        measured = measure_bundle(bundle, images, float_bundle, advance=advance)
    title = f"{bundle.name} {bundle.version}: {plural(images.count, 'picture')} of {images.dataset}"
    print_table(title, [(name, _format(result, measured.get(FLOAT32))) for name, result in measured.items()])
    if options.out is not None:
        table = AccuracyTable(float32=measured.get(FLOAT32), deployed=measured[DEPLOYED])
        write_atomic(options.out, msgspec.json.format(msgspec.json.encode(table)) + b"\n", guard=write_errors)


def _format(result: Accuracy, float32: Accuracy | None) -> str:
    text = f"mAP50-95 {result.map50_95:.4f}, mAP50 {result.map50:.4f}, mIoU {result.miou:.4f}"
    if float32 is None or result is float32:
        return text
    points = 100 * (float32.map50_95 - result.map50_95)
    return f"{text}, costs {points:.2f} points of mAP50-95, {float32.miou - result.miou:.4f} of mIoU"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="a bundle's folder, or the name of an embedded one")
    parser.add_argument("--float", metavar="BUNDLE", help="the same bundle in float32, to compare with")
    parser.add_argument("--images", metavar="SOURCE", help="the folder of --annotations' pictures, or parts://")
    parser.add_argument("--annotations", type=Path, metavar="COCO.json", help="what the pictures show, with masks")
    parser.add_argument("--frames", type=int, default=300, help="at most so many pictures (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="for make_bundle.py --accuracy")
    return parser
