"""What benchmarks/gpu.py finds: kept as it comes, and shown as tables."""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.table import Table

import common
import nanoseg
from nanoseg.doctor.board import read_board
from nanoseg.doctor.gpu import read_nvidia
from nanoseg.doctor.machine import Machine
from nanoseg.errors import NanosegError, one_line

Result = TypeVar("Result")
PACKAGES = ("cuda-bindings", "pycuda", "torch", "onnx", "onnxruntime")
MARKS = ("copies_ms", "gaps_ms", "overlap_ms")


class Report:
    """A dict for JSON, and a file that holds all that was found when something goes wrong, or the machine is gone."""

    def __init__(self, path: Path | None) -> None:
        self.told: dict[str, Any] = {"failed": {}}
        self._path = path

    @property
    def failed(self) -> dict[str, str]:
        """Why parts of it are missing."""
        failed: dict[str, str] = self.told["failed"]
        return failed

    def part(self, name: str, work: Callable[[], Result]) -> Result | None:
        """What `work` gives; None where it fails, which is told, kept, and no reason to stop."""
        print(f"gpu: {name} ...", file=sys.stderr, flush=True)
        self.write()
        try:
            return work()
        except Exception as error:
            print(f"gpu: {name} failed: {one_line(error)}", file=sys.stderr, flush=True)
            self.failed[name] = str(error) if isinstance(error, NanosegError) else traceback.format_exc()
            return None

    def write(self) -> None:
        """As it is now. Raises UsageError."""
        if self._path:
            common.write(self.told, self._path)


def versions(tensorrt: str) -> dict[str, str | None]:
    """Of all that has a say; `tensorrt` is that of the one in use, if any."""
    machine = Machine()
    nvidia = read_nvidia(machine, read_board(machine, {}))
    told = {"nanoseg": nanoseg.__version__, "driver": nvidia.driver, "cuda": nvidia.cuda, "tensorrt": tensorrt or None}
    told |= {"python": platform.python_version(), "numpy": np.__version__}
    return {**told, **{name: _installed(name) for name in PACKAGES}}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def tables(told: dict[str, Any]) -> list[Table]:
    """For people; those that there is something for."""
    found = [_about(told)]
    if told.get("stages_ms"):
        alone = Table("stage alone", "p50", "p95", "p99", title="on the GPU, over and over")
        for name, spent in told["stages_ms"].items():
            alone.add_row(name, *(f"{value:.3f} ms" for value in spent.values()))
        found.append(alone)
    if told.get("modes"):
        found.append(_modes(told["modes"]))
    if tests := told.get("tests"):
        table = Table("tests", "", title="pytest -m gpu")
        table.add_row("passed", str(tests["passed"]))
        table.add_row("failed", "\n".join(tests["failed"]) or "none")
        table.add_row("skipped", "\n".join(sorted(set(tests["skipped"].values()))) or "none")
        found.append(table)
    return found


def _about(told: dict[str, Any]) -> Table:
    table = Table("", "", show_header=False)
    for name in ("bundle", "frame", "device", "engine", "frames_read_in_pinned_memory"):
        if name in told:
            table.add_row(name.replace("_", " "), str(told[name]))
    here = (f"{name} {each}" for name, each in told.get("versions", {}).items() if each)
    table.add_row("versions", ", ".join(here))
    for name in ("why_not_tensorrt", "not_captured", "failed"):
        if told.get(name):
            lines = (f"{each}: {why.strip().splitlines()[-1]}" for each, why in told[name].items())
            table.add_row(name.replace("_", " "), "\n".join(lines))
    if told.get("nanosam_left_out"):
        table.add_row("NanoSAM's way left out", told["nanosam_left_out"])
    return table


def _modes(modes: list[dict[str, Any]]) -> Table:
    table = Table(
        *("objects", "latency p50", "p95", "p99", "stream", "latency in it", "copies", "gaps", "overlap"),
        *("NanoSAM's way", "ratio"),
        title="one frame at a time, and as a stream",
    )
    for each in modes:
        lapse, theirs = each["latency_ms"], each["nanosam_ms"]
        table.add_row(
            f"{each['found']:g}",
            *(f"{lapse[name]:.2f} ms" for name in ("p50", "p95", "p99")),
            f"{each['stream_fps']:.1f} /s",
            f"{each['stream_latency_ms']['p50']:.2f} ms",
            *(f"{each['timeline'][name]:.2f} ms" for name in MARKS),
            f"{theirs['p50']:.2f} ms" if theirs else "-",
            f"{each['ratio']:.3f}" if theirs else "-",
        )
    return table
