"""The report of benchmarks/gpu.py: written after each part, and shown as tables."""

from __future__ import annotations

import json
import platform
import sys
import time
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
    """The report's data, and its files, which have everything so far when a part fails or the machine is lost."""

    def __init__(self, *paths: Path | None, minutes: float | None = None) -> None:
        """Write to `paths`; begin no part when `minutes` are over."""
        self.data: dict[str, Any] = {"failed": {}, "left": []}
        self._paths = [path for path in paths if path]
        self._minutes, self._began = minutes, time.monotonic()

    @property
    def failed(self) -> dict[str, str]:
        """The errors of parts that failed."""
        failed: dict[str, str] = self.data["failed"]
        return failed

    @property
    def left(self) -> list[str]:
        """The names of parts that were not begun, or interrupted, for lack of time."""
        left: list[str] = self.data["left"]
        return left

    def resume(self, path: Path) -> None:
        """Take over what an earlier call measured, if what this report has by now is the same in that one."""
        try:
            earlier = json.loads(path.read_text())
        except (OSError, ValueError):
            return
        if isinstance(earlier, dict) and all(earlier.get(name) == each for name, each in self._settings().items()):
            self.data = {**earlier, "failed": {}, "left": []}
            print(f"gpu: goes on with {path}", file=sys.stderr, flush=True)

    def seconds(self, minutes: float | None) -> float | None:
        """Return the time until so many minutes after the beginning; None without an end."""
        return None if minutes is None else self._began + 60 * minutes - time.monotonic()

    def part(self, name: str, work: Callable[[], Result]) -> Result | None:
        """Run a part and return its result; where it fails, or time is over, report that and return None."""
        remaining_s = self.seconds(self._minutes)
        if remaining_s is not None and remaining_s <= 0:
            print(f"gpu: {name} is left for another call", file=sys.stderr, flush=True)
            self.left.append(name)
            return None
        print(f"gpu: {name} ...", file=sys.stderr, flush=True)
        self.write()
        try:
            return work()
        except Exception as error:
            print(f"gpu: {name} failed: {one_line(error)}", file=sys.stderr, flush=True)
            self.failed[name] = str(error) if isinstance(error, NanosegError) else traceback.format_exc()
            return None

    def write(self) -> None:
        """Write the files, as far as the report is. Raises UsageError."""
        for path in self._paths:
            common.write(self.data, path)

    def _settings(self) -> dict[str, Any]:
        """Return the data but for what was measured, as it is read back."""
        settings: dict[str, Any] = json.loads(json.dumps(self.data))
        return {name: each for name, each in settings.items() if name not in ("failed", "left")}


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
    if data.get("left"):
        table.add_row("left for another call", ", ".join(data["left"]))
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
