"""The one script for a machine with a GPU: builds engines, measures, runs the tests that need one, and keeps it all.

    python benchmarks/gpu.py                                  # makes a full-size bundle first: a minute or two
    python benchmarks/gpu.py --bundle parts --frame 640x480 --json benchmarks/results/orin-nano.json
    python benchmarks/gpu.py --engine torch --no-tests

Engines are built by the usual recipes with the first TensorRT that computes on this GPU, which each is tried for. Where
none does, an engine made of torch (benchmarks/torch_engine.py) stands in its place: its own speed says little, but
streams,
captured graphs, buckets and pinned memory are the pipeline's. Against the pipeline stands
NanoSAM's way on the same engines
with a plain decoder (benchmarks/gpu_nanosam.py).

A part that fails is told and kept in the report, and the others go on; the exit code is 1 then. The report is written
after each part, so that what was measured is not lost. Without a GPU this says so in one line and exits with 5.

What has to be there, by the names that pip knows:
    always               numpy, msgspec, rich, opencv-python (or -headless), cuda-bindings (or pycuda)
    the stand-in         torch with CUDA, onnx
    without --bundle     torch, onnx, onnxruntime, onnxscript, onnxslim, tomli-w
    NanoSAM's way        torch, onnx, onnxruntime, onnxscript, onnxslim, pillow; without them it is left out
    the tests            pytest, onnx, onnxruntime; whichever wants more is skipped, and says what it wants
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

ENGINES = ("auto", "tensorrt", "torch")
CALLED = {"cv2": "opencv-python", "PIL": "pillow"}  # by pip; others are called as Python calls them
MISSING = 6  # the exit code of nanoseg's DependencyError


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", help="a bundle's name or folder; by default a full-size one is made")
    parser.add_argument("--engines", type=Path, metavar="DIR", help="the store of engines (default: the usual one)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="(default: %(default)s)")
    parser.add_argument("--frame", default="1280x720", metavar="WxH", help="(default: %(default)s)")
    parser.add_argument("--objects", default="1,4,8,16", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="frames of each figure (default: %(default)s)")
    parser.add_argument("--no-tests", dest="tests", action="store_false", help="measure alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    options = parser.parse_args(arguments)
    try:
        # Here, so that one line tells what is missing, and the help wants nothing.
        from rich.console import Console

        from gpu_report import tables
        from gpu_run import run
        from nanoseg.errors import NanosegError
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        print(f"gpu: {name} is not installed: pip install {CALLED.get(name, name)}", file=sys.stderr)
        return MISSING
    except Exception as error:  # what is installed and broken raises what it likes
        print(f"gpu: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_code", MISSING)
    try:
        report = run(options)
    except NanosegError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return error.exit_code
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables(report.told):
        console.print(table)
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
