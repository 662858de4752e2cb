"""Make an INT8 detector of a float one, by pictures it may learn its ranges from; and tell what that costs.

examples:
  python tools/quantize_yolo_nas.py detector.onnx --out int8.onnx --images parts://
  python tools/quantize_yolo_nas.py detector.onnx --out int8.onnx --images pictures/ --annotations coco.json \\
      --max-drop 0.5 --report report/        # keeps layers out of INT8 until no more than half a point is lost
  python tools/quantize_yolo_nas.py detector.onnx --out int8.onnx --images pictures/     # calibrates; no mAP is told

Takes what make_bundle.py takes as a detector, but for checkpoints: export them first. What it writes holds explicit
Q/DQ nodes: INT8 in the convolutions, with a scale a channel for their weights, float32 in the decode of boxes and
scores, and float32 or, with --rest fp16, float16 in all else. make_bundle.py takes it as --detector.

Pictures are read one at a time. Of a COCO file some serve to calibrate and others to measure mAP, of float and INT8
alike; parts:// is the simulated line, measured on lines that neither training nor the demo's tests see.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoseg.commands.picture_options import add_flags, check_files, put_files
from nanoseg.commands.run_tool import Parts, run_job

if TYPE_CHECKING:
    from nanoseg.onnx_graphs.int8.quantize_detector import QuantizeOptions
    from nanoseg.onnx_graphs.int8.report import QuantizeReport

METHODS = ("percentile", "minmax", "entropy")


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    return run_job("quantize_yolo_nas", _parser().parse_args(arguments), _parts)


def run_quantize(options: QuantizeOptions, report_folder: Path | None, log: Callable[[str], None]) -> QuantizeReport:
    """Quantize a detector and write it with its report, all files or none.

    Raises NanosegError; where the budget is out of reach the report is written before, and the network is not.
    """
    from nanoseg.commands.quantize.report import REPORT, import_figure, report_files
    from nanoseg.onnx_graphs.int8.quantize_detector import quantize_detector

    reads = (options.annotations, options.detector_spec)
    check_files(options.out, options.detector, "detector", reads, report_folder and report_folder / REPORT)
    if report_folder is not None and (options.sensitivity or options.max_drop is not None):
        import_figure()  # so that a missing matplotlib is reported before the long work
    result = quantize_detector(options, log)
    files = {} if result.onnx is None else {options.out: result.onnx}
    if report_folder is not None:
        files |= report_files(result.report, report_folder)
    put_files(files)
    result.check_budget()
    return result.report


def _parts() -> Parts[Any, QuantizeReport]:
    from nanoseg.commands.quantize.report import print_report
    from nanoseg.onnx_graphs.int8.quantize_detector import QuantizeOptions

    return QuantizeOptions, run_quantize, print_report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path, metavar="DETECTOR.onnx", help="float32: images -> boxes, scores")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.onnx", help="the INT8 detector to write")
    truth = "what the pictures show, to measure mAP"
    add_flags(parser, "the detector", truth, report="folder for report.json, report.md, sensitivity.png")
    parser.add_argument("--count", type=int, default=64, help="pictures to calibrate on (default: %(default)s)")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="percentile",
        help="how a tensor's range is chosen: a percentile of its values, its largest, or least divergence "
        "(default: %(default)s)",
    )
    parser.add_argument("--percentile", type=float, metavar="P", help="of --method percentile (default: 99.99)")
    parser.add_argument("--rest", choices=("fp32", "fp16"), default="fp32", help="what else runs in (default: fp32)")
    parser.add_argument("--sensitivity", action="store_true", help="measure what INT8 in each layer alone does")
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="of mAP50-95 (0 to 100) that INT8 may cost; keeps layers out of it",
    )
    parser.add_argument("--test-count", type=int, default=300, help="pictures to measure on (default: %(default)s)")
    return parser
