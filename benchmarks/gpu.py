"""Build engines, measure them and run the tests that need a GPU; writes one report.

    python benchmarks/gpu.py                                  # makes a full-size bundle first: a minute or two
    python benchmarks/gpu.py --bundle parts --frame 640x480 --json benchmarks/results/gpu/orin-nano.json
    python benchmarks/gpu.py --engine torch --no-tests
    python benchmarks/gpu.py --work DIR --minutes 6           # again and again, until it ends with 0: short loans

Engines are built by the usual recipes with the first TensorRT that computes on this GPU; each library is tried. If none
does, torch runs the engines (benchmarks/torch_engine.py): its own speed says little, but streams, captured graphs,
buckets and pinned memory are the pipeline's. The pipeline is compared with NanoSAM's way on the same engines with a
plain decoder (benchmarks/peers/nanosam/gpu.py).

A part that fails is recorded in the report, and the others go on; the exit code is 1 then. The report is written after
each part, so that no measurement is lost. Without a GPU the exit code is 5, with one line on stderr.

With --work the bundle, the engines and the report stay in a folder, and a later call on the same machine measures what
is missing there, or failed. With --minutes no part begins later than that, and the tests are interrupted at twice as
much; the exit code is 1 where parts are left. A part takes a minute or two at most; the first also makes the bundle.

Required packages, by the names that pip knows:
    always               numpy, msgspec, rich, opencv-python (or -headless), cuda-bindings (or pycuda)
    torch engines        torch with CUDA, onnx
    without --bundle     torch, onnx, onnxruntime, onnxscript, onnxslim, tomli-w
    NanoSAM's way        torch, onnx, onnxruntime, onnxscript, onnxslim, pillow; else it is left out
    the tests            pytest, onnx, onnxruntime; tests that need more are skipped, and say what they need
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

ENGINES = ("auto", "tensorrt", "torch")
PIP_NAMES = {"cv2": "opencv-python", "PIL": "pillow"}  # others have the names of their modules
MISSING_LIBRARY = 6  # the exit code of nanoseg's DependencyError


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", help="a bundle's name or folder; by default a full-size one is made")
    parser.add_argument("--engines", type=Path, metavar="DIR", help="the store of engines (default: the usual one)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="(default: %(default)s)")
    parser.add_argument("--frame", default="1280x720", metavar="WxH", help="(default: %(default)s)")
    parser.add_argument("--objects", default="1,4,8,16", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="frames of each figure (default: %(default)s)")
    parser.add_argument("--no-tests", dest="tests", action="store_false", help="measure alone")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep everything there, and go on with what is there")
    parser.add_argument("--minutes", type=float, metavar="N", help="begin no part later than this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    options = parser.parse_args(arguments)
    try:
        # Here, so that a missing library is one line, and --help needs none.
        from rich.console import Console

        from gpu_report import tables
        from gpu_run import run
        from nanoseg.errors import NanosegError
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        print(f"gpu: {name} is not installed: pip install {PIP_NAMES.get(name, name)}", file=sys.stderr)
        return MISSING_LIBRARY
    except Exception as error:  # what is installed and broken raises what it likes
        print(f"gpu: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_code", MISSING_LIBRARY)
    try:
        report = run(options)
    except NanosegError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return error.exit_code
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables(report.data):
        console.print(table)
    return int(bool(report.failed or report.left))


if __name__ == "__main__":
    sys.exit(main())
