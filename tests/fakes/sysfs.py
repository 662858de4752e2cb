"""Machines of the benchmark's tests: a folder with the files of sysfs that it reads."""

from __future__ import annotations

from pathlib import Path

from nanoseg.doctor.machine import CommandResult, Machine

# A Jetson in its 15 W mode, whose clocks that mode limits, cool and idle.
JETSON = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48500",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "active",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "35000",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "47000",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal",
    "sys/class/thermal/thermal_zone2/temp": "-256000",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/class/thermal/cooling_device1/type": "cpu-throttle-alert",
    "sys/class/thermal/cooling_device1/cur_state": "0",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1190400",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "729600",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1984000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/class/devfreq/17000000.gpu/cur_freq": "612000000",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000",
    "sys/class/hwmon/hwmon0/name": "soctherm_oc",
    "sys/class/hwmon/hwmon0/oc1_event_cnt": "4",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "1240",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "5000",
    "sys/class/hwmon/hwmon1/curr2_input": "400",
    "proc/loadavg": "0.12 0.10 0.05 1/234 5678",
}


def sysfs(root: Path, *changes: dict[str, str | None], commands: dict[str, str] | None = None) -> Machine:
    """Return the machine of JETSON with changes, None to leave a file out; `commands` are outputs by first word."""
    files: dict[str, str | None] = dict(JETSON)
    for change in changes:
        files |= change
    for path, text in files.items():
        write(root, path, text)
    said = commands or {}
    return Machine(
        root,
        lambda words, _: CommandResult(next((said[name] for name in said if name in words), "")),
        {"numpy": "2.0", "jetson-stats": "4.3" if "-c" in said else None}.get,
    )


def write(root: Path, path: str, text: str | None) -> None:
    """Write a file of sysfs, or remove it."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        (root / path).unlink(missing_ok=True)
    else:
        (root / path).write_text(f"{text}\n")
