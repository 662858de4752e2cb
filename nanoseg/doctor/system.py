"""Read the operating system, this Python, memory and swap."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass

from nanoseg.doctor.machine import Machine

_SMALL_MB = 9 * 1024  # a board of 8 GB shows about 7.4 GiB


@dataclass(frozen=True)
class System:
    """The operating system."""

    name: str  # "Ubuntu 22.04.5 LTS"
    kernel: str
    architecture: str  # "aarch64"
    cpus: int  # available to this process
    container: bool


@dataclass(frozen=True)
class Python:
    """The Python interpreter of this process."""

    version: str
    executable: str
    virtual: bool  # in a virtual environment
    sees_system: bool  # can import packages that apt installed


@dataclass(frozen=True)
class Swap:
    """One swap space; zram is compressed memory and adds none."""

    name: str
    kind: str  # "zram", "file" or "partition"
    size_mb: int


@dataclass(frozen=True)
class Memory:
    """Memory in MiB; None where it is not known."""

    total_mb: int | None
    available_mb: int | None
    swaps: tuple[Swap, ...]
    desktop: bool  # a graphical session is running: it takes about 0.8 GB

    @property
    def small(self) -> bool:
        """Whether there is 8 GB of memory or less."""
        return self.total_mb is not None and self.total_mb < _SMALL_MB

    @property
    def swap_mb(self) -> int:
        """Swap on a disk, MiB."""
        return sum(swap.size_mb for swap in self.swaps if swap.kind != "zram")


def read_system(machine: Machine) -> System:
    """Read the system from /etc/os-release (os-release(5)) and the kernel."""
    match = re.search(r'^PRETTY_NAME=["\']?(.*?)["\']?\s*$', machine.text("/etc/os-release"), re.MULTILINE)
    affinity = getattr(os, "sched_getaffinity", None)
    return System(
        name=match[1] if match else platform.system(),
        kernel=machine.text("/proc/sys/kernel/osrelease").strip() or platform.release(),
        architecture=platform.machine(),
        cpus=len(affinity(0)) if affinity else os.cpu_count() or 1,
        container=any(machine.exists(path) for path in ("/.dockerenv", "/run/.containerenv")),
    )


def read_python(machine: Machine) -> Python:
    """Read the Python of this process."""
    virtual = sys.prefix != sys.base_prefix
    # pyvenv.cfg (PEP 405): include-system-site-packages = true
    settings = machine.text(f"{sys.prefix}/pyvenv.cfg") if virtual else ""
    sees_system = not virtual or bool(re.search(r"^include-system-site-packages\s*=\s*true", settings, re.M | re.I))
    return Python(platform.python_version(), sys.executable or "", virtual, sees_system)


def read_memory(machine: Machine) -> Memory:
    """Read memory and swap from /proc/meminfo and /proc/swaps (proc(5)), which count kB."""
    text = machine.text("/proc/meminfo")
    total, available = (
        int(match[1]) // 1024 if (match := re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)) else None
        for name in ("MemTotal", "MemAvailable")
    )
    swaps = []
    for line in machine.text("/proc/swaps").splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 3 and fields[2].isdecimal():
            kind = "zram" if os.path.basename(fields[0]).startswith("zram") else fields[1]
            swaps.append(Swap(fields[0], kind, int(fields[2]) // 1024))
    desktop = any(name.startswith("X") for name in machine.names("/tmp/.X11-unix"))
    return Memory(total, available, tuple(swaps), desktop)
