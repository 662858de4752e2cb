"""What a board's sensors say: temperatures, clocks and watts, from sysfs, else from NVIDIA's tools."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nanoseg.doctor.machine import Machine

THERMAL = "/sys/class/thermal"
CPUS = "/sys/devices/system/cpu"
DEVFREQ = "/sys/class/devfreq"
HWMON = "/sys/class/hwmon"
_TEGRASTATS = ("timeout", "0.7", "tegrastats", "--interval", "300")
_SMI = ("nvidia-smi", "--query-gpu=temperature.gpu,clocks.sm,power.draw", "--format=csv,noheader,nounits")
_JTOP = "import json, jtop\nwith jtop.jtop() as j: print(json.dumps({'watts': j.power['tot']['power'] / 1000}))"
# The whole board's input; where there is none, the rails beside each other that feed the module (AGX Orin, AGX Thor).
_INPUTS = ("VDD_IN", "VIN", "POM_5V_IN")
_PARTS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")


@dataclass(frozen=True)
class Sensors:
    """One reading; what the machine does not tell is empty or None."""

    temperatures_c: Mapping[str, float] = field(default_factory=dict)  # by thermal zone
    cpu_mhz: float | None = None  # the fastest processor's
    gpu_mhz: float | None = None
    watts: float | None = None
    watts_of: str = ""  # what that is the power of, and who says so

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature."""
        return max(self.temperatures_c.values(), default=None)


def read_sensors(machine: Machine) -> Sensors:
    """Read the sensors of sysfs alone: a millisecond or so, and no other process."""
    temperatures = {}
    for zone in machine.names(THERMAL):
        folder = f"{THERMAL}/{zone}"
        value = number(machine, f"{folder}/temp") if zone.startswith("thermal_zone") else None
        if value is not None and 0 < value < 200_000:  # unused zones of a Jetson say -256000
            temperatures[machine.text(f"{folder}/type").strip() or zone] = value / 1000
    cpus = [number(machine, f"{folder}/scaling_cur_freq") for folder in cpufreq_folders(machine)]
    gpu = gpu_folder(machine)
    gpu_hz = number(machine, f"{gpu}/cur_freq") if gpu else None
    watts, watts_of = read_rails(machine)
    return Sensors(
        temperatures,
        max((khz / 1000 for khz in cpus if khz is not None), default=None),
        gpu_hz and gpu_hz / 1e6,
        watts,
        watts_of,
    )


def read_all_sensors(machine: Machine) -> Sensors:
    """Read the sensors, where sysfs has no watts or no GPU by NVIDIA's tools: up to seconds, in other processes."""
    found = read_sensors(machine)
    if found.watts is not None:
        return found
    if (watts := parse_tegrastats(machine.run(_TEGRASTATS, 3.0).stdout)) is not None:
        return Sensors(found.temperatures_c, found.cpu_mhz, found.gpu_mhz, watts, "board, by tegrastats")
    if machine.installed("jetson-stats"):
        said = machine.python("-c", _JTOP, timeout_s=10.0).get("watts")
        if isinstance(said, (int, float)):
            return Sensors(found.temperatures_c, found.cpu_mhz, found.gpu_mhz, float(said), "board, by jetson-stats")
    values = (machine.run(_SMI, 5.0).stdout.splitlines() or [""])[0].split(",")
    if len(values) == 3:
        heat, mhz, drawn = (_number(value) for value in values)
        temperatures = {**found.temperatures_c, **({} if heat is None else {"GPU": heat})}
        return Sensors(temperatures, found.cpu_mhz, mhz, drawn, "" if drawn is None else "GPU alone, by nvidia-smi")
    return found


def read_rails(machine: Machine) -> tuple[float | None, str]:
    """Return the watts of the board and what they are.

    An INA3221 has several rails: in1_label VDD_IN, in1_input mV, curr1_input mA. The INA238 of AGX Thor has one, VIN,
    whose name is in the chip's own label.
    """
    rails: dict[str, float] = {}
    for name in machine.names(HWMON):
        folder = f"{HWMON}/{name}"
        if not machine.text(f"{folder}/name").startswith("ina"):
            continue
        labels = {match[1]: file for file in machine.names(folder) if (match := re.fullmatch(r"in(\d+)_label", file))}
        for channel, file in (labels or {"1": "label"}).items():
            millivolts = number(machine, f"{folder}/in{channel}_input")
            milliamperes = number(machine, f"{folder}/curr{channel}_input")
            if millivolts is not None and milliamperes is not None:
                rails[machine.text(f"{folder}/{file}").strip()] = millivolts * milliamperes / 1e6
    for name in _INPUTS:
        if name in rails:
            return rails[name], f"board, rail {name}"
    parts = [name for name in _PARTS if name in rails]
    return (sum(rails[name] for name in parts), f"rails {' + '.join(parts)}") if parts else (None, "")


def parse_tegrastats(text: str) -> float | None:
    """Return the board's watts of the last line of tegrastats, `... VDD_IN 5210mW/5190mW VDD_CPU_GPU_CV 1042mW/...`."""
    lines = [dict(re.findall(r"(\w+) (\d+)mW/\d+mW", line)) for line in text.splitlines()]
    rails = next((line for line in reversed(lines) if line), {})
    for name in _INPUTS:
        if name in rails:
            return int(rails[name]) / 1000
    parts = [int(rails[name]) for name in _PARTS if name in rails]
    return sum(parts) / 1000 if parts else None


def cpufreq_folders(machine: Machine) -> list[str]:
    """Return the folders of the processors' clocks."""
    folders = [f"{CPUS}/{name}/cpufreq" for name in machine.names(CPUS) if re.fullmatch(r"cpu\d+", name)]
    return [folder for folder in folders if machine.exists(folder)]


def gpu_folder(machine: Machine) -> str | None:
    """Return the folder of a Jetson's GPU clock: 17000000.gpu, gpu-gpc-0 or 57000000.gpu."""
    names = [name for name in machine.names(DEVFREQ) if re.search(r"gpu|ga10b|gv11b", name)]
    return f"{DEVFREQ}/{names[0]}" if names else None


def number(machine: Machine, path: str) -> float | None:
    """Return the number that a file holds; None where it has none."""
    return _number(machine.text(path))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
