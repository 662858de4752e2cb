"""Temperatures, power and throttling, from a copy of what an Orin has in /sys."""

import pytest

from nanoseg.service.board import BoardState, read_board
from nanoseg.service.board_watch import EVERY_S, GIVE_BACK_S, BoardWatch


@pytest.fixture
def board(tmp_path):
    def write(name, text):
        path = tmp_path / "sys" / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    for zone, name, milli in ((0, "cpu-thermal", 51500), (1, "gpu-thermal", 49250), (2, "cv0-thermal", -256000)):
        write(f"thermal/thermal_zone{zone}/type", name)
        write(f"thermal/thermal_zone{zone}/temp", milli)
        write(f"thermal/thermal_zone{zone}/trip_point_0_type", "critical")
        write(f"thermal/thermal_zone{zone}/trip_point_0_temp", 1000)
        write(f"thermal/thermal_zone{zone}/trip_point_1_type", "passive")
        write(f"thermal/thermal_zone{zone}/trip_point_1_temp", 99000)
    write("hwmon/hwmon1/name", "ina3221")
    for number, (label, milli_v, milli_a) in enumerate((("VDD_IN", 5000, 1500), ("VDD_CPU_GPU_CV", 5000, 400)), 1):
        write(f"hwmon/hwmon1/in{number}_label", label)
        write(f"hwmon/hwmon1/in{number}_input", milli_v)
        write(f"hwmon/hwmon1/curr{number}_input", milli_a)
    write("hwmon/hwmon1/in7_label", "sum of shunt voltages")
    write("hwmon/hwmon2/name", "soctherm_oc")
    write("hwmon/hwmon2/oc3_event_cnt", 2)
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:  1048576 kB\n")
    write.read = lambda: read_board(tmp_path / "sys", tmp_path / "meminfo")
    return write


def test_board_of_an_orin(board):
    state = board.read()
    assert state == BoardState(
        {"cpu-thermal": 51.5, "gpu-thermal": 49.25}, {"VDD_IN": 7.5, "VDD_CPU_GPU_CV": 2.0}, "", 2, 1024.0
    )
    assert state.total_w == 7.5


def test_board_is_throttled_at_a_passive_trip_point(board):
    board("thermal/thermal_zone1/temp", 99500)
    assert board.read().throttled == "gpu-thermal at 100 C"


def test_board_without_sensors(tmp_path):
    state = read_board(tmp_path, tmp_path / "none")
    assert (state, state.total_w) == (BoardState(), None)


def test_board_watch_tells_heat_power_memory_and_time(monkeypatch):
    told, now_s, jump_s = [], [0.0], [0.0]
    monkeypatch.setattr("nanoseg.service.board_watch.time.monotonic", lambda: now_s[0])
    states = iter(
        [
            BoardState({"cpu": 50.0}, throttle_events=3, available_mb=900.0),
            BoardState({"cpu": 99.0}, throttled="cpu at 99 C", throttle_events=3, available_mb=900.0),
            BoardState({"cpu": 50.0}, throttle_events=4, available_mb=150.0),
        ]
    )

    def read():
        now_s[0] += 2.5  # a bus that is slow
        return next(states)

    watch = BoardWatch(told.append, read, lambda: 1000.0 + now_s[0] + jump_s[0])
    for _ in range(3):
        jump_s[0] = -3600.0 if now_s[0] else 0.0  # an hour back, once
        watch.poll()
        watch.poll()  # too soon
        now_s[0] += EVERY_S
    assert [line.split(";")[0] for line in told] == [
        "heat holds the clocks down",
        "the clock was set back by 3600 s",
        "over-current or under-voltage has throttled the board",
        "less than 200 MB of memory are left",
    ]
    assert watch.low_memory


def test_board_watch_goes_on_after_a_reading_that_fails(monkeypatch):
    told, now_s = [], [0.0]
    monkeypatch.setattr("nanoseg.service.board_watch.time.monotonic", lambda: now_s[0])
    low = BoardState(throttled="cpu at 99 C", throttle_events=3, available_mb=150.0)
    readings = iter([low, ValueError("no number"), low])

    def read():
        if isinstance(reading := next(readings), Exception):
            raise reading
        return reading

    watch, found = BoardWatch(told.append, read, lambda: now_s[0]), []
    for _ in range(3):
        watch.poll()
        found.append((watch.state.throttled, watch.low_memory))
        now_s[0] += EVERY_S
    assert found == [("cpu at 99 C", True), ("", False), ("cpu at 99 C", True)]
    assert [line.partition(":")[0] for line in told if "over-current" in line or "sensors" in line] == [
        "the board's sensors cannot be read"
    ]


def test_board_watch_gives_memory_back_now_and_then(monkeypatch):
    given, now_s = [], [0.0]
    monkeypatch.setattr("nanoseg.service.board_watch.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("nanoseg.service.board_watch.give_back", lambda: given.append(now_s[0]))
    watch = BoardWatch(print, BoardState, lambda: now_s[0])
    while now_s[0] < 2.5 * GIVE_BACK_S:
        watch.poll()
        now_s[0] += EVERY_S
    assert given == [GIVE_BACK_S, 2 * GIVE_BACK_S]
