"""A thread that reads temperatures, clocks, watts and throttling while something is measured."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from statistics import mean

from nanoseg.benchmark.sensors import Sensors, read_all_sensors, read_sensors
from nanoseg.benchmark.throttle import Brakes, read_brakes
from nanoseg.doctor.machine import Machine

EVERY_S = 1.0


@dataclass
class BoardLog:
    """Readings over time."""

    at_s: list[float] = field(default_factory=list)  # since the watch began
    sensors: list[Sensors] = field(default_factory=list)
    brakes: list[Brakes] = field(default_factory=list)

    def watts(self, from_s: float, until_s: float) -> float | None:
        """Return the mean watts between two times; None where there are none."""
        known = [
            each.watts
            for at_s, each in zip(self.at_s, self.sensors, strict=True)
            if from_s <= at_s <= until_s and each.watts is not None
        ]
        return mean(known) if known else None


class BoardWatch:
    """Reads a machine's sensors every second, as a context; reading takes about a millisecond."""

    def __init__(self, machine: Machine, every_s: float = EVERY_S) -> None:
        """Watch a machine."""
        self.log, self.before = BoardLog(), read_brakes(machine)
        self._machine, self._every_s, self._ended = machine, every_s, threading.Event()
        # Where sysfs has no watts each reading is a process of NVIDIA's tools.
        first, self._asks_tools = read_sensors(machine), False
        self.idle = first
        if first.watts is None:
            self.idle = read_all_sensors(machine)
            self._asks_tools = self.idle.watts is not None
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="board-watch", daemon=True)

    def __enter__(self) -> BoardWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._read(last=True)

    def now_s(self) -> float:
        """Return the seconds since the watch began."""
        return time.monotonic() - self._began_s

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._read()

    def _read(self, last: bool = False) -> None:
        at_s = self.now_s()
        sensors = read_all_sensors(self._machine) if self._asks_tools and not last else read_sensors(self._machine)
        self.log.at_s.append(at_s)
        self.log.sensors.append(sensors)
        self.log.brakes.append(read_brakes(self._machine, with_commands=self._asks_tools or last))


class CpuTimes:
    """Processor time of this process and of all others, since it was made."""

    def __init__(self, machine: Machine) -> None:
        """Start counting."""
        self._machine = machine
        self._before = self._read()

    def others_share(self) -> float | None:
        """Return the share of all processors' time that other processes took; None where it is not known."""
        (total, busy, own), (total_0, busy_0, own_0) = self._read(), self._before
        if total <= total_0:
            return None
        return max(0.0, min(1.0, (busy - busy_0 - (own - own_0)) / (total - total_0)))

    def _read(self) -> tuple[float, float, float]:
        """Return all ticks of /proc/stat's first line, the busy ones, and this process's, in seconds (proc(5))."""
        line = self._machine.text("/proc/stat").partition("\n")[0].split()
        try:
            ticks = [int(value) / os.sysconf("SC_CLK_TCK") for value in line[1:9]]
        except ValueError:
            ticks = []
        times = os.times()
        idle = sum(ticks[3:5])
        return sum(ticks), sum(ticks) - idle, times.user + times.system
