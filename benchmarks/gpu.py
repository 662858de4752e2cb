"""The one script for a machine with a GPU: builds engines, runs the tests that need one, measures, and keeps it all.

    python benchmarks/gpu.py                                  # makes a full-size bundle first: a minute or two
    python benchmarks/gpu.py --bundle parts --frame 640x480 --json benchmarks/results/orin-nano.json
    python benchmarks/gpu.py --engine torch --no-tests

Engines are built with whatever TensorRT is there, by the usual recipes. Where none can run on this GPU, an engine made
of torch (tests/torch_engine.py) stands in its place: its own speed says little, but streams, captured graphs, buckets
and pinned memory are the chain's. Against the chain stands NanoSAM's way on the same engines with a plain decoder
(benchmarks/gpu_nanosam.py); that needs torch. Without a GPU this says so in one line and exits with 5.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from gpu_modes import Way, measure  # noqa: E402

import nanoseg  # noqa: E402
from nanoseg.backends.cuda import open_gpu  # noqa: E402
from nanoseg.backends.device import look_for_device  # noqa: E402
from nanoseg.building.verb import Order, build  # noqa: E402
from nanoseg.bundle import open_bundle  # noqa: E402
from nanoseg.errors import EngineError, NanosegError, UsageError, needs  # noqa: E402
from nanoseg.out_file import check_out, writing_out  # noqa: E402
from nanoseg.segmenter import Segmenter  # noqa: E402
from nanoseg.sources.parts import Line  # noqa: E402
from nanoseg.terminal import complain  # noqa: E402

FRAMES = 4  # different ones, in turn
ENGINES = ("auto", "tensorrt", "torch")


def find_engine(wanted: str) -> tuple[str, str]:
    """tensorrt or torch, and why not TensorRT. Raises EngineError without a GPU, or with nothing that runs on it."""
    try:
        with open_gpu():
            pass
    except NanosegError as error:
        raise EngineError(f"no GPU to measure: {error}") from error
    device, why = look_for_device()
    if device is not None and wanted != "torch":
        return "tensorrt", ""
    if wanted == "tensorrt":
        raise EngineError(f"--engine tensorrt: {why}")
    if torch_on_gpu():
        return "torch", why or "--engine torch"
    raise EngineError(f"nothing runs on this GPU: {why}; and there is no torch with CUDA")


def torch_on_gpu() -> bool:
    """Whether torch is there, with a GPU that it can use."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def run_tests() -> dict[str, Any]:
    """The tests that want a GPU, the contract suite's on it among them, in a process of their own."""
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch, "told.xml")
        words = [sys.executable, "-m", "pytest", "-m", "gpu", "tests", f"--junitxml={told}"]
        code = subprocess.run(words, cwd=ROOT, check=False).returncode
        return {"exit_code": code, **read_junit(told)}


def read_junit(path: Path) -> dict[str, Any]:
    """How many passed, which failed, and which were left out and why; of none at all where pytest did not end."""
    counts: dict[str, Any] = {"passed": 0, "failed": [], "skipped": {}}
    if not path.is_file():
        return counts
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"].append(name)
        elif (left := case.find("skipped")) is not None:
            counts["skipped"][name] = left.get("message", "")
        else:
            counts["passed"] += 1
    return counts


def full_size(folder: Path) -> Path:
    """A bundle of full-size networks with random weights."""
    with needs("torch", "export"):
        import torch  # noqa: F401
    subprocess.run([sys.executable, ROOT / "benchmarks/full_size_bundle.py", "--out", folder], check=True)
    return folder


def open_segmenter(kind: str, bundle: str, engines: Path | None) -> Segmenter:
    """On the engines of the store, or on torch. All boxes count: random weights find nothing of their own."""
    if kind == "tensorrt":
        return nanoseg.load(bundle, "tensorrt", engines=engines, confidence=0.0)
    from tests.torch_engine import CudaRunner, open_torch_chain

    opened = open_bundle(bundle)
    return Segmenter(opened, open_torch_chain(opened, open_gpu(), CudaRunner()), confidence=0.0)


def nanosam_way(kind: str, segmenter: Segmenter, scratch: Path, stack: ExitStack) -> tuple[Way | None, str]:
    """NanoSAM's way on the segmenter's engines until the stack is left, or None and why."""
    try:
        from gpu_nanosam import GpuWay
        from nanosam_way import plain_decoder
    except (ImportError, NanosegError) as error:
        return None, f"NanoSAM's way was left out: {error}"
    path = scratch / "plain.onnx"
    plain_decoder(path, segmenter.bundle.encoder_px).close()
    rig: Any = segmenter.chain._rig  # type: ignore[attr-defined]
    decoder = load_plain(kind, rig.gpu, path)
    stack.callback(decoder.close)
    way = GpuWay(segmenter.bundle, rig.gpu, rig.engines, decoder, torch_on_gpu())
    stack.callback(way.close)
    return way, ""


def load_plain(kind: str, gpu: Any, path: Path) -> Any:
    """An engine of a decoder that no bundle has."""
    if kind == "torch":
        from tests.torch_engine import CudaRunner, TorchEngine

        return TorchEngine(gpu, path, "segment", CudaRunner())
    from nanoseg.backends.trt.engine import TrtEngine
    from nanoseg.backends.trt_build.build import build_engine
    from nanoseg.recipes import read_recipe

    device, why = look_for_device()
    if device is None:
        raise EngineError(why)
    api = importlib.import_module(device.kind)
    return TrtEngine(api, gpu, build_engine(api, path, read_recipe("segment")).plan, "plain.engine")


def tables(report: dict[str, Any]) -> list[Table]:
    """For people."""
    frame = f"{report['bundle']}, {report['frame']}, {report['device']}"
    alone = Table("stage alone", "p50", "p95", "p99", title=frame)
    for name, spent in report["stages_ms"].items():
        alone.add_row(name, *(f"{value:.3f} ms" for value in spent.values()))
    modes = Table(
        "objects", "latency p50", "p95", "p99", "stream", "copies", "gaps", "overlap", "NanoSAM's way", "ratio"
    )
    for each in report["modes"]:
        lapse, marks = each["latency_ms"], each["timeline"]
        theirs = each["nanosam_ms"]
        modes.add_row(
            f"{each['found']:g}",
            *(f"{lapse[name]:.2f} ms" for name in ("p50", "p95", "p99")),
            f"{each['stream_fps']:.1f} /s",
            *(f"{marks[name]:.2f} ms" for name in ("copies_ms", "gaps_ms", "overlap_ms")),
            f"{theirs['p50']:.2f} ms" if theirs else "-",
            f"{each['ratio']:.3f}" if theirs else "-",
        )
    found = [alone, modes]
    if report["tests"]:
        tests = Table("tests", "", title="pytest -m gpu")
        tests.add_row("passed", str(report["tests"]["passed"]))
        tests.add_row("failed", "\n".join(report["tests"]["failed"]) or "none")
        tests.add_row("skipped", "\n".join(sorted(set(report["tests"]["skipped"].values()))) or "none")
        found.append(tests)
    return found


def numbers(text: str, separator: str, flag: str, wanted: str) -> list[int]:
    """Whole numbers above 0. Raises UsageError."""
    try:
        found = [int(each) for each in text.split(separator)]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UsageError(f"{flag}: wanted {wanted}, got {text}")
    return found


def run(options: argparse.Namespace, find: Callable[[str], tuple[str, str]] = find_engine) -> dict[str, Any]:
    """Build, test, measure; gives the report. Raises NanosegError."""
    sides = numbers(options.frame, "x", "--frame", "WIDTHxHEIGHT")
    if len(sides) != 2:
        raise UsageError(f"--frame: wanted WIDTHxHEIGHT, got {options.frame}")
    objects = numbers(options.objects, ",", "--objects", "numbers such as 1,4,8,16")
    if options.rounds < 1:
        raise UsageError(f"--rounds: wanted 1 or more, got {options.rounds}")
    if options.json:
        check_out(options.json, "--json")
    kind, why = find(options.engine)
    if why:
        complain(f"{why}: torch stands in for TensorRT")
    line = Line(seed=1, size_wh=(sides[0], sides[1]))
    frames: list[np.ndarray] = [line.frame(i).image for i in range(FRAMES)]
    tests = run_tests() if options.tests else None
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = options.bundle or str(full_size(scratch / "full-size"))
        if kind == "tensorrt":
            # Engines of a bundle that was made for this run alone are not kept.
            options.engines = options.engines or (None if options.bundle else scratch / "engines")
            build(Order(bundle=bundle, engines=options.engines))
        segmenter = stack.enter_context(open_segmenter(kind, bundle, options.engines))
        way, missing = nanosam_way(kind, segmenter, scratch, stack)
        if missing:
            complain(missing)
        report = measure(segmenter, frames, objects, options.rounds, way)
        told = {"bundle": segmenter.bundle.name, "frame": options.frame, "engine": kind, "why_not_tensorrt": why}
        return {**told, **report, "rounds": options.rounds, "nanosam_left_out": missing, "tests": tests}


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
        report = run(options)
        if options.json:
            with writing_out(options.json, "--json"):
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(report, indent=2) + "\n")
    except NanosegError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return error.exit_code
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables(report):
        console.print(table)
    return int(bool(report["tests"] and report["tests"]["exit_code"]))


if __name__ == "__main__":
    sys.exit(main())
