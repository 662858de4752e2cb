"""The report of benchmarks/gpu.py: written after each part, and shown as tables."""

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
    """The report's data, and its file, which has everything so far when a part fails or the machine is lost."""

    def __init__(self, path: Path | None) -> None:
        self.data: dict[str, Any] = {"failed": {}}
        self._path = path

    @property
    def failed(self) -> dict[str, str]:
        """The errors of parts that failed."""
        failed: dict[str, str] = self.data["failed"]
        return failed

    def part(self, name: str, work: Callable[[], Result]) -> Result | None:
        """Run a part and return its result; where it fails, report that and return None."""
        print(f"gpu: {name} ...", file=sys.stderr, flush=True)
        self.write()
        try:
            return work()
        except Exception as error:
            print(f"gpu: {name} failed: {one_line(error)}", file=sys.stderr, flush=True)
            self.failed[name] = str(error) if isinstance(error, NanosegError) else traceback.format_exc()
            return None

    def write(self) -> None:
        """Write the file, as far as the report is. Raises UsageError."""
        if self._path:
            common.write(self.data, self._path)


def versions(tensorrt: str) -> dict[str, str | None]:
    """Return the versions of the libraries that affect results; `tensorrt` is that of the library in use, if any."""
    machine = Machine()
    nvidia = read_nvidia(machine, read_board(machine, {}))
    found = {"nanoseg": nanoseg.__version__, "driver": nvidia.driver, "cuda": nvidia.cuda, "tensorrt": tensorrt or None}
    found |= {"python": platform.python_version(), "numpy": np.__version__}
    return {**found, **{name: _installed(name) for name in PACKAGES}}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def tables(data: dict[str, Any]) -> list[Table]:
    """Return the tables of the parts that there are."""
    found = [_overview(data)]
    if data.get("stages_ms"):
        alone = Table("stage alone", "p50", "p95", "p99", title="on the GPU, over and over")
        for name, spent in data["stages_ms"].items():
            alone.add_row(name, *(f"{value:.3f} ms" for value in spent.values()))
        found.append(alone)
    if data.get("modes"):
        found.append(_modes(data["modes"]))
    if tests := data.get("tests"):
        table = Table("tests", "", title="pytest -m gpu")
        table.add_row("passed", str(tests["passed"]))
        table.add_row("failed", "\n".join(tests["failed"]) or "none")
        table.add_row("skipped", "\n".join(sorted(set(tests["skipped"].values()))) or "none")
        found.append(table)
    return found


def _overview(data: dict[str, Any]) -> Table:
    table = Table("", "", show_header=False)
    for name in ("bundle", "frame", "device", "engine", "frames_read_in_pinned_memory"):
        if name in data:
            table.add_row(name.replace("_", " "), str(data[name]))
    installed = (f"{name} {each}" for name, each in data.get("versions", {}).items() if each)
    table.add_row("versions", ", ".join(installed))
    for name in ("tensorrt_refusals", "not_captured", "failed"):
        if data.get(name):
            lines = (f"{each}: {reason.strip().splitlines()[-1]}" for each, reason in data[name].items())
            table.add_row(name.replace("_", " "), "\n".join(lines))
    if data.get("nanosam_left_out"):
        table.add_row("NanoSAM's way left out", data["nanosam_left_out"])
    return table


def _modes(modes: list[dict[str, Any]]) -> Table:
    table = Table(
        *("objects", "latency p50", "p95", "p99", "stream", "latency in it", "copies", "gaps", "overlap"),
        *("NanoSAM's way", "ratio"),
        title="one frame at a time, and as a stream",
    )
    for each in modes:
        latency, nanosam = each["latency_ms"], each["nanosam_ms"]
        table.add_row(
            f"{each['found']:g}",
            *(f"{latency[name]:.2f} ms" for name in ("p50", "p95", "p99")),
            f"{each['stream_fps']:.1f} /s",
            f"{each['stream_latency_ms']['p50']:.2f} ms",
            *(f"{each['timeline'][name]:.2f} ms" for name in MARKS),
            f"{nanosam['p50']:.2f} ms" if nanosam else "-",
            f"{each['ratio']:.3f}" if nanosam else "-",
        )
    return table
