"""A run of the benchmark: answers first, then latencies while the board is watched, then whether all that is valid."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.backends.describe_engines import describe_engines
from nanoseg.backends.select import check_backend, open_pipeline
from nanoseg.benchmark.answers import Answers, check_answers
from nanoseg.benchmark.board_estimate import estimated_stages
from nanoseg.benchmark.board_watch import BoardWatch, CpuTimes
from nanoseg.benchmark.environment import read_environment
from nanoseg.benchmark.latency import (
    Effort,
    FixedObjects,
    Series,
    fixed_boxes,
    measure_calls,
    measure_camera,
    measure_stream,
)
from nanoseg.benchmark.report import FORMAT, KIND, Configuration, Report, make_configuration
from nanoseg.benchmark.throttle import throttle_reasons
from nanoseg.bundle import Bundle, open_bundle
from nanoseg.bundle.manifest import MANIFEST
from nanoseg.bundle.reference import read_reference
from nanoseg.doctor.machine import Machine
from nanoseg.engines import EngineStore
from nanoseg.errors import EngineError, SourceError
from nanoseg.sources.open import open_source
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.types import Frame
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.memory import resident_mb

# Of MLPerf's single stream: enough queries for a p90, and a least duration (its own is 60 s).
MLPERF = Effort(1024, 10.0, 16)
QUICK = Effort(64, 0.0, 4)
FRAMES = 8  # different ones, in turn
IDLE_S = 3.0  # of watts before the run
BUSY_OTHERS = 0.10  # of all processors' time, from which on a note says so
_APPS = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]  # label, steps -> function to call after each


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, and how long."""

    bundle: str = "parts"
    backend: str = "auto"
    engines: Path | None = None
    objects: tuple[int, ...] = (1, 4, 8, 16)
    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    effort: Effort = MLPERF
    quick: bool = False
    source: str | None = None  # a live one, instead of frames in memory
    anyway: bool = False  # go on where the engines' answers are wrong


def _no_bar(*_: object) -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


def run_bench(options: BenchOptions, machine: Machine | None = None, bar: Bar = _no_bar) -> Report:
    """Measure a bundle on this machine.

    Args:
        options: What to measure.
        machine: Where the board's state is read; by default this machine.
        bar: Shows progress.

    Returns:
        The report, whether it is valid or not; `certify` makes a file's content of it.

    Raises:
        EngineError: The engines' answers are not those of the bundle's reference frames, unless `anyway`; or the
            backend cannot run the bundle.
        NanosegError: As `nanoseg.load` and `open_source` raise it.
    """
    machine = machine or Machine()
    check_backend(options.backend)
    bundle = open_bundle(options.bundle)
    before_mb = resident_mb()
    pipeline = open_pipeline(bundle, options.backend, engines=options.engines)
    with FixedObjects(bundle, pipeline) as segmenter:
        reference = None if bundle.reference is None else read_reference(bundle.reference)
        answers = check_answers(segmenter, reference)
        if answers.checked and not answers.right and not options.anyway:
            raise EngineError(
                f"{bundle.name} on {segmenter.backend}: wrong answers: {answers.summary}; nothing was measured: build "
                "its engines anew, or give --anyway to measure them all the same"
            )
        environment, cpu = read_environment(machine), CpuTimes(machine)
        watch = BoardWatch(machine)
        with watch:
            if watch.idle.watts is not None:
                time.sleep(IDLE_S)
            idle_until_s = watch.now_s()
            measured = _measure_all(options, segmenter, watch, bar)
        others = cpu.others_share()
        environment["cpu_share_of_others"] = None if others is None else round(others, 4)
        log = watch.log
        idle_watts = log.watts(0, idle_until_s) or watch.idle.watts
        for each in measured:
            _add_energy(each, log.watts(each.began_s, each.began_s + each.seconds), idle_watts)
        estimated = estimated_stages(bundle, environment, options.objects if options.source is None else ())
        for each in measured:
            if each.mode == "call":
                each.estimate_ms = estimated.get(int(each.objects))
        reasons = ["wrong answers: " + answers.summary] if answers.checked and not answers.right else []
        reasons += throttle_reasons(
            watch.before, log.brakes, environment["jetson"] or environment["power_mode"] is not None
        )
        reasons += [
            f"unstable: {each.title}: the medians of the last three windows are not within 10 %: "
            f"{', '.join(f'{median:.2f}' for median in each.windows_ms[-3:])} ms"
            for each in measured
            if not each.stable
        ]
        return Report(
            kind=KIND,
            format=FORMAT,
            made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            valid=not reasons,
            reasons=reasons,
            notes=_notes(options, answers, environment, log.watts(0, float("inf")), watch.before.known),
            quick=options.quick,
            queries=options.effort.queries,
            backend=segmenter.backend,
            device=segmenter.device,
            answers=answers,
            bundle=_describe_bundle(bundle),
            engines=_engines(bundle, segmenter, options.engines),
            environment=environment,
            memory=_memory(machine, bundle, segmenter, options.engines, before_mb),
            board={
                "at_s": [round(each, 2) for each in log.at_s],
                "hottest_c": [each.hottest_c for each in log.sensors],
                "cpu_mhz": [each.cpu_mhz for each in log.sensors],
                "gpu_mhz": [each.gpu_mhz for each in log.sensors],
                "watts": [each.watts for each in log.sensors],
                "watts_of": watch.idle.watts_of,
                "idle_watts": idle_watts,
            },
            configurations=measured,
        )


def _measure_all(options: BenchOptions, segmenter: FixedObjects, watch: BoardWatch, bar: Bar) -> list[Configuration]:
    measured = []
    if options.source is not None:
        with closing(open_source(options.source, live=True)) as source:
            frames, size = _first_size(iter(source))
            with bar(options.source, options.effort.queries) as advance:
                began_s = watch.now_s()
                series = measure_camera(segmenter, frames, options.effort, advance)
        found = round(sum(series.objects) / len(series.objects), 2)
        return [make_configuration(series, f"{size[0]}x{size[1]}", found, began_s)]
    for size_wh, count in product(options.sizes_wh, options.objects):
        frame_name = f"{size_wh[0]}x{size_wh[1]}"
        line = SimulatedLine(seed=1, size_wh=size_wh)
        frames_of_line = [line.frame(25 * index) for index in range(FRAMES)]
        segmenter.boxes = fixed_boxes(count, size_wh)
        modes: dict[str, Callable[..., Series]] = {"call": measure_calls, "stream": measure_stream}
        for mode, measure in modes.items():
            with bar(f"{frame_name}, {count} objects, {mode}", options.effort.queries) as advance:
                began_s = watch.now_s()
                series = measure(segmenter, frames_of_line, options.effort, advance)
            measured.append(make_configuration(series, frame_name, float(count), began_s))
    return measured


def _first_size(frames: Iterator[Frame]) -> tuple[Iterator[Frame], tuple[int, int]]:
    first = next(frames, None)
    if first is None:
        raise SourceError("the source ended before its first frame")

    def all_frames() -> Iterator[Frame]:
        yield first
        yield from frames

    return all_frames(), (first.size_hw[1], first.size_hw[0])


def _add_energy(each: Configuration, watts: float | None, idle_watts: float | None) -> None:
    if watts is None or not each.frames_per_s:
        return
    each.watts = round(watts, 3)
    each.joules_per_frame = round(watts / each.frames_per_s, 5)
    if idle_watts is not None:
        each.joules_per_frame_above_idle = round(max(0.0, watts - idle_watts) / each.frames_per_s, 5)


def _notes(
    options: BenchOptions, answers: Answers, environment: dict[str, Any], watts: float | None, brakes_known: bool
) -> list[str]:
    notes = []
    if options.quick:
        notes.append(f"a quick look: {options.effort.queries} frames of each, where MLPerf wants 1024 for a p90")
    if not answers.checked:
        notes.append(f"answers {answers.summary}")
    if environment["clocks_locked"] is False:
        notes.append("clocks not locked: they follow the load (on a Jetson: sudo jetson_clocks)")
    if environment["clocks_locked"] is None:
        notes.append("clocks not known: this machine does not tell them")
    if environment["jetson"] and environment["power_mode"] is None:
        notes.append("power mode not known: nvpmodel is not there, as in a container; it may limit clocks")
    if not brakes_known:
        notes.append("throttling not known: this machine tells neither cooling, nor limits of clocks, nor their events")
    others = environment["cpu_share_of_others"]
    if others is not None and others > BUSY_OTHERS:
        notes.append(f"other processes took {others:.0%} of all processors' time meanwhile")
    if watts is None:
        notes.append("power not known: no sensor of it that this user can read")
    return notes


def _describe_bundle(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sha256": sha256_of_file(bundle.path / MANIFEST),  # which has that of every other file
        "precision": {name: graph.precision for name, graph in bundle.graphs.items()},
        "accuracy": msgspec.to_builtins(dict(bundle.accuracy)),
        "warnings": list(bundle.warnings),
        "detector_px": bundle.detector_px,
        "encoder_px": bundle.encoder_px,
    }


def _engines(bundle: Bundle, segmenter: FixedObjects, engines: Path | None) -> list[dict[str, Any]]:
    if segmenter.backend != "tensorrt":
        return []
    return [each for each in describe_engines(bundle, EngineStore(engines))["engines"] if each["valid"]]


def _memory(
    machine: Machine, bundle: Bundle, segmenter: FixedObjects, engines: Path | None, before_mb: float
) -> dict[str, float | None]:
    """Return MB of the host: before the bundle was loaded, and the highest; and of the device, where that is known."""
    peak = re.search(r"^VmHWM:\s*(\d+) kB", machine.text("/proc/self/status"), re.MULTILINE)
    used = re.search(rf"^{os.getpid()}, (\d+)$", machine.run(_APPS, 5.0).stdout, re.MULTILINE)
    planned = describe_engines(bundle, EngineStore(engines))["memory"] if segmenter.backend == "tensorrt" else []
    nbytes = planned[0]["gpu_bytes"] if planned else None
    return {
        "host_before_mb": round(before_mb, 1),
        "host_peak_mb": round(int(peak[1]) * 1024 / 1e6, 1) if peak else None,
        "device_mb": round(int(used[1]) * 1.048576, 1) if used else None,  # nvidia-smi says MiB
        "device_planned_mb": None if nbytes is None else round(nbytes / 1e6, 1),  # by the engines' records
    }
