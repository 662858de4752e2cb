"""Whether a machine ran slower than it can: cooling, lowered clocks, over-current, heat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.benchmark.sensors import CPUS, HWMON, THERMAL, cpufreq_folders, gpu_folder, number
from nanoseg.doctor.machine import Machine

NEAR_C = 2.0  # below a trip point at which clocks are lowered
_NO_BRAKE = re.compile(r"fan|pwm|lcd|backlight|wifi|charger|hot-surface|tcc", re.IGNORECASE)
_SMI = ("nvidia-smi", "--query-gpu=clocks_throttle_reasons.active", "--format=csv,noheader")
# Bits of NVML's clocks event reasons. The power cap that a user has set is left out, as a power mode is.
_SMI_BITS = {0x8: "hardware slowdown", 0x20: "too hot (software)", 0x40: "too hot (hardware)", 0x80: "power brake"}


@dataclass(frozen=True)
class Brakes:
    """What lowers clocks at one moment, and counters of it."""

    cooling: Mapping[str, int]  # state by cooling device, of those that lower clocks
    limits: Mapping[str, float]  # the highest allowed clock by processor, and of the GPU
    below: tuple[str, ...]  # those whose limit is below what the hardware can
    events: Mapping[str, int]  # counters of throttling and over-current alarms
    hot: tuple[str, ...]  # zones near a trip point that lowers clocks
    gpu: tuple[str, ...] | None  # reasons of a graphics card; None where it does not tell, or was not asked

    @property
    def known(self) -> bool:
        """Whether the machine tells anything of throttling: a virtual one does not."""
        return bool(self.cooling or self.limits or self.events) or self.gpu is not None


def read_brakes(machine: Machine, *, with_commands: bool = True) -> Brakes:
    """Read what lowers clocks now; `with_commands` asks nvidia-smi, too, which takes a process."""
    names = machine.names(THERMAL)
    cooling = {}
    for name in names:
        kind = machine.text(f"{THERMAL}/{name}/type").strip()
        state = number(machine, f"{THERMAL}/{name}/cur_state") if name.startswith("cooling_device") else None
        if state is not None and not _NO_BRAKE.search(kind):
            cooling[f"{kind} ({name})"] = int(state)
    limits, below = {}, []
    for folder in cpufreq_folders(machine):
        limit, most = (number(machine, f"{folder}/{file}") for file in ("scaling_max_freq", "cpuinfo_max_freq"))
        cpu = folder.split("/")[-2]
        if limit is not None:
            limits[cpu] = limit / 1000
            if most is not None and limit < most:
                below.append(cpu)
    if (gpu := gpu_folder(machine)) and (limit := number(machine, f"{gpu}/max_freq")) is not None:
        limits["gpu"] = limit / 1e6
    return Brakes(
        cooling,
        limits,
        tuple(below),
        _read_events(machine),
        tuple(zone for name in names if (zone := _near_trip(machine, f"{THERMAL}/{name}"))),
        _read_smi(machine) if with_commands else None,
    )


def throttle_reasons(before: Brakes, during: list[Brakes], has_power_modes: bool) -> list[str]:
    """Return why a run does not show what the machine can, one line each; none where it does.

    Args:
        before: Read before the run.
        during: Read in the run, and at its end.
        has_power_modes: It is a Jetson, whose power mode limits clocks as its user wants it, also where it cannot be
            read, as in a container; on other machines a limit that was there before is throttling.
    """
    reasons: dict[str, None] = {}
    for now in during:
        for name, state in now.cooling.items():
            if state > 0:
                reasons.setdefault(f"throttled: cooling device {name} was active", None)
        for name, limit in now.limits.items():
            if limit < before.limits.get(name, limit):
                reasons.setdefault(f"throttled: the clock limit of {name} fell during the run", None)
        for name, count in now.events.items():
            if count > before.events.get(name, count):
                reasons.setdefault(f"throttled: {name} counted events during the run", None)
        reasons |= dict.fromkeys(f"too hot: {zone}" for zone in now.hot)
        reasons |= dict.fromkeys(f"throttled: the GPU, {reason}" for reason in now.gpu or ())
    if before.below and not has_power_modes:
        reasons[f"throttled: the clock limit of {', '.join(before.below)} is below what the hardware can"] = None
    return list(reasons)


def _read_events(machine: Machine) -> dict[str, int]:
    """Read over-current alarms of a Jetson (hwmon*/oc1_event_cnt) and thermal events of Intel's processors."""
    paths = [
        (f"over-current alarm {file.removesuffix('_event_cnt')}", f"{HWMON}/{name}/{file}")
        for name in machine.names(HWMON)
        for file in machine.names(f"{HWMON}/{name}")
        if re.fullmatch(r"oc\d+_event_cnt", file)
    ]
    paths += [
        (f"thermal throttling of {name}", f"{CPUS}/{name}/thermal_throttle/core_throttle_count")
        for name in machine.names(CPUS)
        if re.fullmatch(r"cpu\d+", name)
    ]
    return {name: int(value) for name, path in paths if (value := number(machine, path)) is not None}


def _near_trip(machine: Machine, zone: str) -> str:
    """Return `cpu-thermal at 98.5 of 99.0 °C` where a zone is near the point from which clocks are lowered, else ""."""
    heat = number(machine, f"{zone}/temp")
    if heat is None:
        return ""
    trips = [
        value
        for file in machine.names(zone)
        if (match := re.fullmatch(r"trip_point_(\d+)_type", file))
        and machine.text(f"{zone}/{file}").strip() in ("passive", "hot", "critical")
        and (value := number(machine, f"{zone}/trip_point_{match[1]}_temp")) is not None
        and value > 40_000  # lower ones are not set
    ]
    if not trips or heat < min(trips) - NEAR_C * 1000:
        return ""
    kind = machine.text(f"{zone}/type").strip() or zone.rsplit("/", 1)[-1]
    return f"{kind} within {NEAR_C:g} °C of {min(trips) / 1000:g} °C, from which clocks are lowered"


def _read_smi(machine: Machine) -> tuple[str, ...] | None:
    try:
        bits = int((machine.run(_SMI, 5.0).stdout.splitlines() or [""])[0], 16)
    except ValueError:
        return None
    return tuple(reason for bit, reason in _SMI_BITS.items() if bits & bit)
