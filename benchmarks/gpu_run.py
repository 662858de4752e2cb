"""The parts of benchmarks/gpu.py: engines, the pipeline's figures, NanoSAM's way, the tests."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import common
import gpu_trial
import nanoseg
from gpu_modes import Way, modes
from gpu_report import Report, versions
from gpu_stages import stages
from gpu_tests import ROOT, run_tests
from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.find_device import find_device
from nanoseg.bundle import open_bundle
from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import Kind
from nanoseg.engines.device import LIBRARIES
from nanoseg.errors import BundleError, DependencyError, EngineError, UsageError
from nanoseg.segmenter import Segmenter
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.utils.files import check_writable

FRAMES = 4  # different ones, used in turn
# The libraries that each part imports, by their module names.
FULL_SIZE = ("torch", "onnx", "onnxruntime", "onnxscript", "onnxslim", "tomli_w")
STAND_IN = ("torch", "onnx")
NANOSAM = (*FULL_SIZE[:-1], "PIL")


class Runner(NamedTuple):
    """The library that runs the engines."""

    kind: Kind | None  # of TensorRT; None: torch_engine.py replaces it
    refusals: dict[str, str]  # the reason of each TensorRT that does not compute here

    def __str__(self) -> str:
        return self.kind or "torch"


def find_runner(wanted: str) -> Runner:
    """Find a TensorRT that computes here, else torch; raises EngineError without a GPU, or if nothing computes."""
    try:
        with open_gpu():
            pass
    except EngineError as error:
        raise EngineError(f"no GPU to measure: {error}") from error
    refusals: dict[str, str] = {}
    if wanted != "torch":
        kind, refusals = gpu_trial.find_tensorrt()
        if kind:
            return Runner(kind, refusals)
    tensorrt_reasons = "; ".join(f"{kind}: {reason}" for kind, reason in refusals.items())
    if wanted == "tensorrt":
        raise EngineError(f"--engine tensorrt: {tensorrt_reasons}")
    if torch_reason := gpu_trial.torch_refusal():
        reasons = "; ".join(filter(None, (tensorrt_reasons, torch_reason)))
        raise EngineError(f"nothing computes on this GPU: {reasons}")
    check_libraries("torch_engine.py", STAND_IN)
    return Runner(None, refusals)


def check_libraries(what: str, names: Sequence[str]) -> None:
    """Raise DependencyError, naming every library that is missing."""
    if missing := [name for name in names if name not in sys.modules and find_spec(name) is None]:
        raise DependencyError(f'{what} needs {", ".join(missing)}: pip install "nanoseg[export,eval]"')


def run(options: argparse.Namespace) -> Report:
    """Build the engines, measure and test. Raises NanosegError for wrong flags and for an unsuitable machine."""
    size_wh = common.checked(options)
    objects = common.numbers(options.objects, ",", "--objects", "numbers such as 1,4,8,16")
    if options.bundle is None:
        check_libraries("a full-size bundle (or give one: --bundle parts)", FULL_SIZE)
    else:
        open_bundle(options.bundle)
    if options.minutes is not None and not options.minutes > 0:
        raise UsageError(f"--minutes: wanted more than 0, got {options.minutes:g}")
    kept = options.work / "report.json" if options.work else None
    if kept:
        check_writable(kept, "--work")
    runner, report = find_runner(options.engine), Report(options.json, kept, minutes=options.minutes)
    device = find_device(runner.kind)[0] if runner.kind else None
    report.data |= {"engine": str(runner), "frame": options.frame, "rounds": options.rounds}
    report.data |= {"tensorrt_refusals": runner.refusals, "versions": versions(device.tensorrt if device else "")}
    report.data["requested_bundle"] = options.bundle or "full-size"
    if kept:
        report.resume(kept)
    line = SimulatedLine(seed=1, size_wh=size_wh)
    frames: list[np.ndarray] = [line.frame(i).image for i in range(FRAMES)]
    measured = {mode["objects"] for mode in report.data.get("modes", [])}
    if not report.data.get("stages_ms") or set(objects) - measured:
        report.part("pipeline", lambda: measure(report, runner, options, frames, objects))
    if options.tests and (report.data.get("tests") or {}).get("exit_code") != 0:
        # Last, as they may take long or hang the GPU; by now the measurements are on disk.
        end = None if options.minutes is None else 2 * options.minutes
        tests = report.part("tests", lambda: run_tests(report.seconds(end)))
        report.data["tests"] = tests or report.data.get("tests")
        if tests and tests["interrupted"]:
            report.left.append("tests")
        elif tests and tests["exit_code"]:
            report.failed["tests"] = f"pytest ends with {tests['exit_code']}; {len(tests['failed'])} failed"
    report.write()
    return report


def measure(
    report: Report, runner: Runner, options: argparse.Namespace, frames: list[np.ndarray], objects: Sequence[int]
) -> None:
    """Measure the pipeline, each figure as a part of its own; errors before the first part are raised."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        segmenter = stack.enter_context(open_segmenter(runner, options, scratch))
        pipeline: Any = segmenter.pipeline
        report.data |= {
            "bundle": segmenter.bundle.name,
            "device": segmenter.device,
            "integrated": pipeline._resources.gpu.integrated,
            "provider": pipeline._resources.gpu.provider,
            "frames_read_in_pinned_memory": pipeline.mapped,
        }
        way = None
        try:
            check_libraries("NanoSAM's way", NANOSAM)
            way = report.part("NanoSAM's way", lambda: nanosam_way(runner, segmenter, scratch, stack))
        except DependencyError as error:
            report.data["nanosam_left_out"] = str(error)
        if not report.data.get("stages_ms"):
            alone = partial(stages, pipeline, frames[0], options.rounds)
            report.data["stages_ms"] = report.part("stages alone", alone)
        measured = report.data.setdefault("modes", [])
        for count in objects:
            if any(found["objects"] == count for found in measured):
                continue
            for each in (way, None) if way else (None,):
                name = f"{count} objects" + (" without NanoSAM's way" if way and not each else "")
                work = partial(modes, segmenter, frames, count, options.rounds, each)
                if (found := report.part(name, work)) is not None:
                    measured.append(found)
                    break
        report.data["not_captured"] = dict(pipeline.not_captured)


def open_segmenter(runner: Runner, options: argparse.Namespace, scratch: Path) -> Segmenter:
    """Open the bundle on engines built now, or on torch. Confidence 0: random weights detect nothing otherwise."""
    kept = options.work or scratch
    bundle = options.bundle or str(full_size(kept / "full-size"))
    if runner.kind:
        # Engines of a bundle that was made for this run are kept with it.
        engines = options.engines or (None if options.bundle else kept / "engines")
        if code := build(BuildOptions(bundle=bundle, target=runner.kind, engines=engines)):
            raise EngineError(f"nanoseg build ends with {code}")
        return nanoseg.load(bundle, "tensorrt", engines=engines, confidence=0.0)
    from torch_engine import CudaRunner, open_torch_pipeline

    opened = open_bundle(bundle)
    torch_runner = CudaRunner(gpu_trial.torch_capture_refusal())
    return Segmenter(opened, open_torch_pipeline(opened, open_gpu(), torch_runner), confidence=0.0)


def full_size(folder: Path) -> Path:
    """Make a bundle of full-size networks with random weights, unless it is there."""
    with suppress(BundleError):
        open_bundle(folder)
        return folder
    # nanoseg need not be installed: its tools import what this process imports.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command: list[str | Path] = [sys.executable, ROOT / "benchmarks/full_size_bundle.py", "--out", folder]
    subprocess.run(command, env=environment, check=True)
    return folder


def nanosam_way(runner: Runner, segmenter: Segmenter, scratch: Path, stack: ExitStack) -> Way:
    """Open NanoSAM's way on the segmenter's engines; the stack closes it. May raise anything."""
    from peers.nanosam.gpu import GpuWay
    from peers.nanosam.way import plain_decoder

    path = scratch / "plain.onnx"
    plain_decoder(path, segmenter.bundle.encoder_px).close()
    resources: Any = segmenter.pipeline._resources  # type: ignore[attr-defined]
    decoder = load_plain(runner, resources.gpu, path)
    stack.callback(decoder.close)
    way = GpuWay(
        segmenter.bundle, resources.gpu, resources.engines, decoder, torch_on_gpu=not gpu_trial.torch_refusal()
    )
    stack.callback(way.close)
    return way


def load_plain(runner: Runner, gpu: Any, path: Path) -> Any:
    """Load an engine of a plain decoder, which no bundle has."""
    if runner.kind is None:
        from torch_engine import CudaRunner, TorchEngine

        return TorchEngine(gpu, path.read_bytes(), path.name, "segment", CudaRunner())
    from nanoseg.backends.tensorrt.build.engine import build_engine
    from nanoseg.backends.tensorrt.engine import TrtEngine
    from nanoseg.engines.recipe import read_recipe

    api = importlib.import_module(LIBRARIES[runner.kind].module)
    return TrtEngine(api, gpu, build_engine(api, path, read_recipe("segment")).plan, "plain.engine")
