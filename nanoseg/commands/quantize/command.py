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
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.commands.picture_options import add_flags
from nanoseg.commands.run_tool import Parts, run_job

if TYPE_CHECKING:
    from nanoseg.commands.quantize.report import Report
    from nanoseg.onnx_graphs.int8.quantize_detector import Job

METHODS = ("percentile", "minmax", "entropy")


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    return run_job("quantize_yolo_nas", _parser().parse_args(arguments), _parts)


def _parts() -> Parts[Job, Report]:
    from nanoseg.commands.quantize.report import tell
    from nanoseg.onnx_graphs.int8.quantize_detector import Job, QuantizeRun

    return Job, lambda job, say: QuantizeRun(job, say).run(), tell


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
