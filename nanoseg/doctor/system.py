"""The operating system, this Python, memory and swap."""

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
    """What it runs under."""

    name: str  # "Ubuntu 22.04.5 LTS"
    kernel: str
    architecture: str  # "aarch64"
    cpus: int  # that this process may use
    container: bool


@dataclass(frozen=True)
class Python:
    """The interpreter that runs this; its packages are the only ones it sees."""

    version: str
    executable: str
    virtual: bool  # in a virtual environment
    sees_system: bool  # sees what apt installed for the system's Python of the same version


@dataclass(frozen=True)
class Swap:
    """One swap space. zram is memory, compressed: it is no room beside it."""

    name: str
    kind: str  # zram, file, partition
    size_mb: int


@dataclass(frozen=True)
class Memory:
    """Memory in MiB; None where the kernel does not tell."""

    total_mb: int | None
    available_mb: int | None
    swaps: tuple[Swap, ...]
    desktop: bool  # a graphical session is running: it takes about 0.8 GB

    @property
    def small(self) -> bool:
        """Whether this is a board of 8 GB or less."""
        return self.total_mb is not None and self.total_mb < _SMALL_MB

    @property
    def swap_mb(self) -> int:
        """Swap on a disk."""
        return sum(swap.size_mb for swap in self.swaps if swap.kind != "zram")


def read_system(machine: Machine) -> System:
    """The system by /etc/os-release (os-release(5)) and the kernel's own words."""
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
    """The Python that runs this."""
    virtual = sys.prefix != sys.base_prefix
    # pyvenv.cfg (PEP 405): include-system-site-packages = true
    settings = machine.text(f"{sys.prefix}/pyvenv.cfg") if virtual else ""
    sees_system = not virtual or bool(re.search(r"^include-system-site-packages\s*=\s*true", settings, re.M | re.I))
    return Python(platform.python_version(), sys.executable or "", virtual, sees_system)


def read_memory(machine: Machine) -> Memory:
    """/proc/meminfo and /proc/swaps (proc(5)): kB, and a head line above columns Filename, Type, Size."""
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
