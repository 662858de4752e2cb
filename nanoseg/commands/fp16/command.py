"""Make a float16 network of a float32 one, the image encoder or the detector, and tell what that costs.

examples:
  python tools/to_fp16.py encoder.onnx --out half.onnx --images parts:// --decoder decoder.onnx
  python tools/to_fp16.py encoder.onnx --out half.onnx --images val2017/ --annotations instances_val2017.json \\
      --decoder decoder.onnx --report report/        # mIoU of the masks against each other, and against the truth
  python tools/to_fp16.py detector.onnx --out half.onnx --images pictures/

Takes what make_bundle.py takes, but for checkpoints: export them first; what it writes, make_bundle.py takes as
--encoder or --detector. A detector's box decode stays float32, and so do norms, sums and every layer that comes near
to float16's largest number, 65504, on the pictures. The mask decoder stays float32: give it as --decoder, to compare
masks.

Both networks run here, float16 rounded after every operator, as a GPU does it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoseg.commands.picture_options import add_flags, check_files, put_files
from nanoseg.commands.run_tool import Parts, run_job

if TYPE_CHECKING:
    from nanoseg.onnx_graphs.fp16.convert import Fp16Options
    from nanoseg.onnx_graphs.fp16.report import Fp16Report


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    return run_job("to_fp16", _parser().parse_args(arguments), _parts)


def run_fp16(options: Fp16Options, report_folder: Path | None, log: Callable[[str], None]) -> Fp16Report:
    """Convert a network and write it with its report, all files or none; raises NanosegError."""
    from nanoseg.commands.fp16.report import REPORT, report_files
    from nanoseg.onnx_graphs.fp16.convert import convert_network

    reads = (options.decoder, options.annotations, options.detector_spec)
    check_files(options.out, options.network, "network", reads, report_folder and report_folder / REPORT)
    result = convert_network(options, log)
    files = {options.out: result.onnx}
    if report_folder is not None:
        files |= report_files(result.report, report_folder)
    put_files(files)
    return result.report


def _parts() -> Parts[Any, Fp16Report]:
    from nanoseg.commands.fp16.report import print_report
    from nanoseg.onnx_graphs.fp16.convert import Fp16Options

    return Fp16Options, run_fp16, print_report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "network", type=Path, metavar="NET.onnx", help="an image encoder or a detector, float32 or Q/DQ"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.onnx", help="the float16 network to write")
    truth = "what the pictures show, to measure mIoU against"
    add_flags(parser, "a detector", truth, report="folder for report.json and report.md")
    parser.add_argument("--count", type=int, default=32, help="pictures at most (default: %(default)s)")
    parser.add_argument("--decoder", type=Path, metavar="DECODER.onnx", help="an encoder's, to compare masks")
    return parser
