"""Temperatures, power and throttling of the board, as Linux and a Jetson's sensors give them in /sys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SYS = Path("/sys")
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class BoardState:
    """What the sensors say; empty where there are none."""

    temperatures_c: dict[str, float] = field(default_factory=dict)  # by thermal zone: "cpu-thermal"
    power_w: dict[str, float] = field(default_factory=dict)  # by rail: "VDD_IN"
    throttled: str = ""  # why clocks are held down: "cpu-thermal at 99 C"; empty: they are not
    throttle_events: int = 0  # over-current and under-voltage events since the board started
    available_mb: float | None = None  # memory that programs may still take

    @property
    def total_w(self) -> float | None:
        """Power of the whole board: a Jetson's VDD_IN, else the sum of the rails."""
        if not self.power_w:
            return None
        return self.power_w.get("VDD_IN", sum(self.power_w.values()))


def read_board(sys: Path = SYS, meminfo: Path = MEMINFO) -> BoardState:
    """Read all sensors. What cannot be read is left out.

    Thermal zones and their passive trip points: Documentation/driver-api/thermal/sysfs-api in Linux. INA3221 rails
    (millivolts and milliamperes) and `oc*_event_cnt`: Jetson Linux Developer Guide, Jetson Orin power.
    """
    temperatures, hot = {}, []
    for zone in sorted(sys.glob("class/thermal/thermal_zone*")):
        name, milli = _text(zone / "type"), _number(zone / "temp")
        if name and milli is not None and milli > -200_000:  # a sensor that is off says -256000
            temperatures[name] = milli / 1000
            if any(milli >= limit for limit in _passive_trips(zone)):
                hot.append(f"{name} at {milli / 1000:.0f} C")
    power: dict[str, float] = {}
    events = 0.0
    for sensor in sorted(sys.glob("class/hwmon/hwmon*")):
        if _text(sensor / "name") == "ina3221":
            power.update(_rails(sensor))
        events += sum(_number(path) or 0 for path in sensor.glob("oc*_event_cnt"))
    return BoardState(temperatures, power, ", ".join(hot), round(events), available_mb(meminfo))


def available_mb(meminfo: Path = MEMINFO) -> float | None:
    """Return the memory that programs may still take, in MiB; None where Linux does not tell."""
    for line in (_text(meminfo) or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return None


def _passive_trips(zone: Path) -> Iterator[float]:
    for kind in zone.glob("trip_point_*_type"):
        if _text(kind) == "passive":
            limit = _number(kind.with_name(kind.name.replace("_type", "_temp")))
            if limit is not None and limit > 0:
                yield limit


def _rails(sensor: Path) -> Iterator[tuple[str, float]]:
    for label in sensor.glob("in*_label"):
        number = label.name[2 : -len("_label")]
        volts, amperes = _number(sensor / f"in{number}_input"), _number(sensor / f"curr{number}_input")
        if volts is not None and amperes is not None and (name := _text(label)):
            yield name, volts * amperes / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
