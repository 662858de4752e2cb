"""Read the NVIDIA GPUs, their driver and CUDA."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from nanoseg.doctor.board import CHIPS, Board
from nanoseg.doctor.machine import Machine

SMI_S = 15.0  # without its daemon the driver is initialized for each call
TOOLKIT = "/usr/local/cuda/version.json"
NVIDIA = "0x10de"  # PCI vendor


@dataclass(frozen=True)
class GpuInfo:
    """Properties of one GPU; None where a value is not known."""

    name: str
    compute_capability: str | None  # "8.7"
    memory_mb: int | None
    shared: bool  # memory shared with the CPU


@dataclass(frozen=True)
class Nvidia:
    """GPUs and the software for them."""

    gpus: tuple[GpuInfo, ...]
    driver: str | None  # "540.4.0"
    cuda: str | None  # newest version that the driver supports: "12.6"
    cuda_error: str | None  # reason why CUDA does not start; None where it does
    toolkit: str | None  # version of the CUDA toolkit, which nanoseg does not need
    card: bool  # a card is plugged in, with or without a driver


def read_nvidia(machine: Machine, board: Board) -> Nvidia:
    """Read the GPUs from CUDA, else from nvidia-smi, else from the table of Jetson's chips."""
    cuda = machine.python("-m", "nanoseg.backends.probe", "cuda")
    gpus, driver, version = _smi(machine)
    if devices := _devices(cuda):
        gpus = devices
    elif not gpus and board.chip in CHIPS:
        gpus = (GpuInfo(*CHIPS[board.chip], None, True),)
    if board.chip in CHIPS:  # nvidia-smi prints [N/A] there
        name, capability = CHIPS[board.chip]
        gpus = tuple(
            replace(gpu, compute_capability=gpu.compute_capability or capability, shared=True)
            for gpu in (gpus or (GpuInfo(name, capability, None, True),))
        )
    return Nvidia(
        gpus=gpus,
        driver=driver or _driver(machine),
        cuda=cuda.get("driver") or version,
        cuda_error=None if devices else str(cuda.get("error") or "no device"),
        toolkit=_toolkit(machine),
        card=_card(machine),
    )


def _devices(cuda: dict[str, object]) -> tuple[GpuInfo, ...]:
    devices = cuda.get("devices")
    return tuple(GpuInfo(**each) for each in devices) if isinstance(devices, list) else ()


def _smi(machine: Machine) -> tuple[tuple[GpuInfo, ...], str | None, str | None]:
    """Return GPUs, driver and CUDA version from nvidia-smi.

    Its lines with --query-gpu are `NVIDIA GeForce RTX 4070, 580.95.05, 8.9, 12282`, on an Orin with JetPack 6
    `Orin (nvgpu), 540.4.0, [N/A], [N/A]`; a driver older than the field compute_cap refuses the whole query. The
    head of its table says `CUDA Version: 12.6`, since driver 610 `CUDA UMD Version: 13.3`.
    """
    fields = ["name", "driver_version", "memory.total", "compute_cap"]
    for wanted in (fields, fields[:-1]):
        query = ("nvidia-smi", f"--query-gpu={','.join(wanted)}", "--format=csv,noheader,nounits")
        result = machine.run(query, SMI_S)
        rows = [[each.strip() for each in line.split(",")] for line in result.stdout.splitlines()]
        rows = [row for row in rows if len(row) == len(wanted)]
        if rows or result.timed_out:
            break
    if not rows:
        return (), None, None
    gpus = tuple(GpuInfo(row[0], _number([*row, ""][3]), _whole(row[2]), False) for row in rows)
    match = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)", machine.run(("nvidia-smi",), SMI_S).stdout)
    return gpus, _number(rows[0][1]), match[1] if match else None


def _driver(machine: Machine) -> str | None:
    """Read the version in `NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build ...`."""
    match = re.search(r"Kernel Module\s.*?(\d+(?:\.\d+)+)", machine.text("/proc/driver/nvidia/version"))
    return match[1] if match else _number(machine.text("/sys/module/nvidia/version").strip())


def _toolkit(machine: Machine) -> str | None:
    """Read the version in `{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}, ...}`."""
    try:
        return _number(str(json.loads(machine.text(TOOLKIT))["cuda"]["version"]))
    except (ValueError, KeyError, TypeError):
        return None


def _card(machine: Machine) -> bool:
    folder = "/sys/bus/pci/devices"
    return any(
        machine.text(f"{folder}/{name}/vendor").strip() == NVIDIA
        and machine.text(f"{folder}/{name}/class").startswith("0x03")  # display controllers
        for name in machine.names(folder)
    )


def _number(text: str) -> str | None:
    return text if re.fullmatch(r"\d+(\.\d+)*", text) else None


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
