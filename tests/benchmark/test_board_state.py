"""Sensors and throttling by simulated sysfs: each sign of throttling is seen, and what looks like one is not."""

import pytest

from nanoseg.benchmark.board_watch import BoardWatch, CpuTimes
from nanoseg.benchmark.environment import read_environment
from nanoseg.benchmark.sensors import parse_tegrastats, read_all_sensors, read_sensors
from nanoseg.benchmark.throttle import read_brakes, throttle_reasons
from nanoseg.doctor.machine import CommandResult, Machine
from tests.fakes.sysfs import sysfs, write

CPU = "sys/devices/system/cpu/cpu0"
THERMAL = "sys/class/thermal"
# What changes during a run, and how the reason begins; "" where nothing is wrong.
CHANGES = {
    "nothing": ({}, ""),
    "fan": ({f"{THERMAL}/cooling_device0/cur_state": "7"}, ""),
    "fan's trip point": ({f"{THERMAL}/thermal_zone0/temp": "60000"}, ""),
    "cooling": ({f"{THERMAL}/cooling_device1/cur_state": "1"}, "throttled: cooling device cpu-throttle-alert"),
    "cpu limit": ({f"{CPU}/cpufreq/scaling_max_freq": "1036800"}, "throttled: the clock limit of cpu0 fell"),
    "gpu limit": ({"sys/class/devfreq/17000000.gpu/max_freq": "306000000"}, "throttled: the clock limit of gpu fell"),
    "lower clock": ({f"{CPU}/cpufreq/scaling_cur_freq": "729600"}, ""),
    "over-current": ({"sys/class/hwmon/hwmon0/oc1_event_cnt": "5"}, "throttled: over-current alarm oc1 counted"),
    "heat": ({f"{THERMAL}/thermal_zone0/temp": "97600"}, "too hot: cpu-thermal within 2 °C of 99 °C"),
    "intel": ({f"{CPU}/thermal_throttle/core_throttle_count": "12"}, "throttled: thermal throttling of cpu0"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_throttling_is_seen_and_nothing_else(tmp_path, name):
    changes, reason = CHANGES[name]
    machine = sysfs(tmp_path, {f"{CPU}/thermal_throttle/core_throttle_count": "11"})
    before = read_brakes(machine)
    for path, text in changes.items():
        write(tmp_path, path, text)
    found = throttle_reasons(before, [before, read_brakes(machine)], True)
    assert len(found) == bool(reason)
    assert all(each.startswith(reason) for each in found)


def test_limited_clock_is_throttling_where_no_power_mode_wants_it(tmp_path):
    brakes = read_brakes(sysfs(tmp_path))
    assert throttle_reasons(brakes, [brakes], True) == []
    assert throttle_reasons(brakes, [brakes], False) == [
        "throttled: the clock limit of cpu0 is below what the hardware can"
    ]


@pytest.mark.parametrize(("bits", "count"), [("0x0000000000000001", 0), ("0x0000000000000060", 2), ("[N/A]", 0)])
def test_throttling_of_a_graphics_card(tmp_path, bits, count):
    brakes = read_brakes(sysfs(tmp_path, commands={"nvidia-smi": bits}))
    assert len(throttle_reasons(brakes, [brakes], True)) == count


def test_virtual_machine_tells_nothing_of_throttling(tmp_path):
    assert read_brakes(sysfs(tmp_path / "jetson")).known
    assert not read_brakes(Machine(tmp_path / "empty", lambda *_: CommandResult(""))).known
    assert read_brakes(Machine(tmp_path / "empty", lambda *_: CommandResult("0x0000000000000000"))).known


def test_sensors_of_a_jetson(tmp_path):
    found = read_sensors(sysfs(tmp_path))
    assert found.temperatures_c == {"cpu-thermal": 48.5, "gpu-thermal": 47.0}
    assert (found.hottest_c, found.cpu_mhz, found.gpu_mhz) == (48.5, 1190.4, 612.0)
    assert (found.watts, found.watts_of) == (pytest.approx(6.2), "board, rail VDD_IN")


@pytest.mark.parametrize("text", ["nan", "inf", "", "unknown"])
def test_sensor_without_a_number_says_nothing(tmp_path, text):
    files = (
        "sys/class/hwmon/hwmon1/in1_input",
        "sys/class/hwmon/hwmon0/oc1_event_cnt",
        f"{THERMAL}/thermal_zone0/temp",
    )
    machine = sysfs(tmp_path, dict.fromkeys(files, text))
    assert read_sensors(machine).temperatures_c == {"gpu-thermal": 47.0}
    assert read_sensors(machine).watts is None
    assert "over-current alarm oc1" not in read_brakes(machine).events


def test_power_adds_the_rails_where_the_board_has_no_common_one(tmp_path):
    """AGX Orin: VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0 lie beside each other."""
    rails = {"in1_label": "VDD_GPU_SOC", "in2_label": "VDD_CPU_CV"}
    found = read_sensors(sysfs(tmp_path, {f"sys/class/hwmon/hwmon1/{name}": text for name, text in rails.items()}))
    assert (found.watts, found.watts_of) == (pytest.approx(8.2), "rails VDD_GPU_SOC + VDD_CPU_CV")


def test_power_of_thor_is_that_of_its_input(tmp_path):
    """Its INA3221 has the module's rails alone; what goes in is on an INA238, which names itself."""
    chip = "sys/class/hwmon/hwmon2"
    rails = {"in1_label": "VDD_GPU", "in2_label": "VDD_CPU_SOC_MSS", "in3_label": "VIN_SYS_5V0"}
    rails |= {"in3_input": "5000", "curr3_input": "1300"}
    module = {f"sys/class/hwmon/hwmon1/{name}": text for name, text in rails.items()}
    found = read_sensors(sysfs(tmp_path, module))
    assert found.watts == pytest.approx(6.2 + 2.0 + 6.5)
    assert found.watts_of == "rails VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0"
    values = {"name": "ina238", "label": "VIN", "in0_input": "4", "in1_input": "19800", "curr1_input": "1200"}
    found = read_sensors(sysfs(tmp_path, module, {f"{chip}/{name}": text for name, text in values.items()}))
    assert (found.watts, found.watts_of) == (pytest.approx(23.76), "board, rail VIN")


@pytest.mark.parametrize(
    ("commands", "watts", "source"),
    [
        ({"tegrastats": "RAM 2/7 VDD_IN 5210mW/5190mW VDD_SOC 1450mW/1450mW\n"}, 5.21, "board, by tegrastats"),
        ({"-c": '{"watts": 7.5}\n'}, 7.5, "board, by jetson-stats"),
        ({"nvidia-smi": "45, 1980, 121.30\n"}, 121.3, "GPU alone, by nvidia-smi"),
        ({"nvidia-smi": "45, [N/A], [N/A]\n"}, None, ""),
        ({}, None, ""),
    ],
)
def test_power_from_tools_where_sysfs_has_none(tmp_path, commands, watts, source):
    machine = sysfs(tmp_path, {"sys/class/hwmon/hwmon1/name": None}, commands=commands)
    found = read_all_sensors(machine)
    assert (found.watts, found.watts_of) == (watts, source)


def test_tegrastats_last_line_counts():
    assert parse_tegrastats("VDD_IN 1000mW/1mW\nVDD_IN 2000mW/1mW\ncut of") == 2.0
    assert parse_tegrastats("VDD_GPU_SOC 2000mW/1mW VDD_CPU_CV 500mW/1mW VDDQ_VDD2_1V8AO 100mW/1mW") == 2.5
    thor = "VDD_GPU 2370mW/1mW VDD_CPU_SOC_MSS 6510mW/1mW VIN_SYS_5V0 6520mW/1mW"
    assert parse_tegrastats(thor) == 15.4
    assert parse_tegrastats(f"{thor} VIN 23000mW/23000mW") == 23.0
    assert parse_tegrastats("") is None


def test_watch_sees_what_happens_in_between(tmp_path):
    machine = sysfs(tmp_path)
    with BoardWatch(machine, every_s=60) as watch:
        write(tmp_path, f"{THERMAL}/cooling_device1/cur_state", "2")
        write(tmp_path, "sys/class/hwmon/hwmon1/curr1_input", "2000")
    assert throttle_reasons(watch.before, watch.log.brakes, True)
    assert watch.idle.watts == pytest.approx(6.2)
    assert watch.log.watts(0, float("inf")) == pytest.approx(10)
    assert watch.log.watts(-2, -1) is None


def test_environment_of_a_jetson(tmp_path):
    machine = sysfs(tmp_path, commands={"nvpmodel": "NV Power Mode: 15W\n0\n"})
    found = read_environment(machine)
    assert (found["power_mode"], found["governor"], found["clocks_locked"]) == ("15W", "schedutil", False)
    assert (found["load_average"], found["libraries"]) == (0.12, {"numpy": "2.0"})
    locked = {f"{CPU}/cpufreq/scaling_min_freq": "1510400", "sys/class/devfreq/17000000.gpu/min_freq": "624750000"}
    assert read_environment(sysfs(tmp_path, locked))["clocks_locked"] is True


def test_cpu_share_of_others(tmp_path):
    machine = sysfs(tmp_path, {"proc/stat": "cpu  1000 0 0 1000 0 0 0 0 0 0"})
    times = CpuTimes(machine)
    assert times.others_share() is None
    write(tmp_path, "proc/stat", "cpu  13000 0 0 5000 0 0 0 0 0 0")
    assert times.others_share() == pytest.approx(0.75, abs=0.05)  # but for what this process took meanwhile
