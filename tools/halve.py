"""Make a float16 network of a float32 one, the image encoder or the detector, and tell what that costs.

examples:
  python tools/halve.py encoder.onnx --out half.onnx --images parts:// --decoder decoder.onnx
  python tools/halve.py encoder.onnx --out half.onnx --images val2017/ --annotations instances_val2017.json \\
      --decoder decoder.onnx --report report/        # mIoU of the masks against each other, and against the truth
  python tools/halve.py detector.onnx --out half.onnx --images pictures/

Takes what make_bundle.py takes, but for checkpoints: export them first; what it writes, make_bundle.py takes as
--encoder or --detector. A detector's box decode stays float32, and so do norms, sums and every layer that comes near
to float16's largest number, 65504, on the pictures. The mask decoder stays float32: give it as --decoder, to compare
masks.

Both networks run here, float16 rounded after every operator, as a GPU does it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run as a file: its neighbours are found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.terminal import say_json
from tools.run_job import run_job


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    given = vars(_parser().parse_args(arguments))
    as_json = given.pop("json")

    def work(say: Callable[[str], None]) -> Callable[[], None]:
        # Here, where a missing library is told in one line.
        from tools.halve_job import Halving, Job
        from tools.halve_report import tell

        job = Job(**given)
        report = Halving(job, say).run()
        return lambda: say_json(report) if as_json else tell(report, job.report)

    return run_job("halve", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "network", type=Path, metavar="NET.onnx", help="an image encoder or a detector, float32 or Q/DQ"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.onnx", help="the float16 network to write")
    parser.add_argument(
        "--images",
        required=True,
        metavar="SOURCE",
        help="a folder or pattern of pictures like those to come, or parts://",
    )
    parser.add_argument("--annotations", type=Path, metavar="COCO.json", help="what the pictures show")
    parser.add_argument("--count", type=int, default=32, help="pictures at most (default: %(default)s)")
    parser.add_argument("--decoder", type=Path, metavar="DECODER.onnx", help="an encoder's, to compare masks")
    parser.add_argument(
        "--detector-form", type=Path, metavar="TOML", help="what a detector takes and gives, as make_bundle's"
    )
    parser.add_argument("--size", type=int, metavar="PX", help="side of a detector's input, where its file is open")
    parser.add_argument("--rescale", type=int, metavar="PX", help="longer side of a picture in a detector's input")
    parser.add_argument("--report", type=Path, metavar="DIR", help="folder for report.json and report.md")
    parser.add_argument("--json", action="store_true", help="the report on stdout as JSON, not as a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
