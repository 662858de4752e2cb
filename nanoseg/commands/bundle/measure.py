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

from nanoseg.commands.run_tool import NOTHING_WRITTEN, run_tool


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        from nanoseg.bundle.measure import run  # here, where a missing library is told in one line

        run(options)

    return run_tool("measure_bundle", work, NOTHING_WRITTEN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="a bundle's folder, or the name of an embedded one")
    parser.add_argument("--float", metavar="BUNDLE", help="the same bundle in float32, to compare with")
    parser.add_argument("--images", metavar="SOURCE", help="the folder of --annotations' pictures, or parts://")
    parser.add_argument("--annotations", type=Path, metavar="COCO.json", help="what the pictures show, with masks")
    parser.add_argument("--frames", type=int, default=300, help="at most so many pictures (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="for make_bundle.py --accuracy")
    return parser
