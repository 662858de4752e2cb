"""What a latency depends on beside the network: board, clocks, libraries, other load."""

from __future__ import annotations

import os
import re
from typing import Any

import nanoseg
from nanoseg.benchmark.sensors import cpufreq_folders, gpu_folder, number
from nanoseg.doctor.board import read_board
from nanoseg.doctor.gpu import read_nvidia
from nanoseg.doctor.machine import Machine
from nanoseg.doctor.packages import read_packages, upstream
from nanoseg.doctor.power import read_power
from nanoseg.doctor.system import read_memory, read_python, read_system

LIBRARIES = (
    *("numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "onnx"),
    *("tensorrt", "tensorrt-rtx", "tensorrt-rtx-cu12", "cuda-bindings", "pycuda"),
)
_THREADS = ("OMP_NUM_THREADS", "NANOSEG_CUDA_WAIT", "NANOSEG_CUDA_GRAPHS")


def read_environment(machine: Machine) -> dict[str, Any]:
    """Return the environment of a measurement, for JSON; unknown values are null."""
    packages = read_packages(machine)
    board, system = read_board(machine, packages), read_system(machine)
    power, memory, nvidia = read_power(machine), read_memory(machine), read_nvidia(machine, board)
    libraries = {name: version for name in LIBRARIES if (version := machine.installed(name))}
    tensorrt = next((version for name, version in packages.items() if re.fullmatch(r"libnvinfer\d+", name)), None)
    return {
        "nanoseg": nanoseg.__version__,
        "board": board.name,
        "jetson": board.jetson,
        "module": board.module,
        "super": board.super,
        "jetpack": board.system if board.jetson else None,
        "power_mode": power.mode,
        "system": system.name,
        "kernel": system.kernel,
        "architecture": system.architecture,
        "container": system.container,
        "cpu": _cpu_model(machine),
        "cpus": system.cpus,
        "memory_mb": memory.total_mb,
        "desktop": memory.desktop,
        "gpu": ", ".join(gpu.name for gpu in nvidia.gpus) or None,
        "driver": nvidia.driver,
        "cuda": nvidia.cuda,
        "tensorrt": libraries.get("tensorrt") or (upstream(tensorrt) if tensorrt else None),
        "python": read_python(machine).version,
        "libraries": libraries,
        "variables": {name: os.environ[name] for name in _THREADS if name in os.environ},
        "governor": _governors(machine),
        "clocks_locked": _clocks_locked(machine),
        "load_average": _load_average(machine),
    }


def _cpu_model(machine: Machine) -> str | None:
    match = re.search(r"^model name\s*:\s*(.+)$", machine.text("/proc/cpuinfo"), re.MULTILINE)
    return match[1].strip() if match else None


def _governors(machine: Machine) -> str | None:
    found = {machine.text(f"{folder}/scaling_governor").strip() for folder in cpufreq_folders(machine)}
    return ", ".join(sorted(found - {""})) or None


def _clocks_locked(machine: Machine) -> bool | None:
    """Return whether least and highest clocks are the same, as `jetson_clocks` sets them; None where not known."""
    pairs = [
        (number(machine, f"{folder}/scaling_min_freq"), number(machine, f"{folder}/scaling_max_freq"))
        for folder in cpufreq_folders(machine)
    ]
    if gpu := gpu_folder(machine):
        pairs.append((number(machine, f"{gpu}/min_freq"), number(machine, f"{gpu}/max_freq")))
    known = [pair for pair in pairs if None not in pair]
    return all(low == high for low, high in known) if known else None


def _load_average(machine: Machine) -> float | None:
    words = machine.text("/proc/loadavg").split()
    return number(machine, "/proc/loadavg") if len(words) == 1 else float(words[0]) if words else None
