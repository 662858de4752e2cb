"""What is told of live sources: the line while they run, and the last one."""

import threading
from dataclasses import replace

import pytest

from nanoseg.commands.live_loop import LiveTally
from nanoseg.commands.live_report import LiveReport, StatusText
from nanoseg.sinks.background import Background
from nanoseg.sinks.live import LiveSinks
from nanoseg.sources.camera_status import CameraStatus
from nanoseg.utils import status_line as status_line_module
from nanoseg.utils.status_line import status_line
from tests.fakes.segmenter import detections

DOOR = CameraStatus("live", frames=70, dropped={"newer": 57, "damaged": 2}, reconnects=3)
YARD = CameraStatus("lost", frames=9, dropped={"newer": 1}, reason="no frame for 3.1 s")


def found(age_ms, count):
    return replace(detections((8, 8), [(0, 0, 4, 4)] * count, [1] * count), age_ms=age_ms)


@pytest.fixture
def sinks():
    slow = Background(object(), "found.jsonl")
    slow.dropped = 4
    return LiveSinks([slow, Background(object(), "door.mp4")])


def test_status_covers_the_time_since_it_was_asked_for(sinks):
    now, tally = [100.0], LiveTally()
    text = StatusText(tally, sinks, lambda: {"door": DOOR, "yard": YARD}, lambda: now[0])
    for age_ms in (80.0, 84.0, 200.0):
        tally.add("door", found(age_ms, 2))
    now[0] = 101.5
    rest = "dropped 58 newer, 2 damaged, not written 4; yard lost"
    assert text() == f"2.0 frames/s, age 84 ms, 2.0 objects, {rest}"
    now[0] = 102.5
    assert text() == f"no frame, {rest}"


def test_summary_has_ages_drops_and_reconnects(sinks):
    tally = LiveTally()
    for _ in range(100):
        tally.add("door", found(80.0, 1))
    tally.shed.update({"skipped": 5})
    report = LiveReport(tally, {"door": DOOR, "yard": YARD}, sinks, 10.0, True)
    assert report.summary("100 objects") == (
        "interrupted after 100 frames, 100 objects, 10.0 frames/s, age p50 80 ms, p99 80 ms; 100 door, 0 yard; "
        "dropped 58 newer, 2 damaged; not written 4 found.jsonl; for the deadline 5 skipped; opened again 3 door"
    )
    assert LiveReport(LiveTally(), {"door": CameraStatus("lost")}, LiveSinks(), 3.0, False).summary("0 objects") == (
        "0 frames, 0 objects"
    )


def test_status_line_is_printed_now_and_then_where_stderr_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(status_line_module, "LINE_EVERY_S", 0.01)
    asked, enough = [], threading.Event()

    def line():
        asked.append(1)
        if len(asked) == 3:
            enough.set()
        return f"line {len(asked)}\x1b"

    with status_line(line):
        assert enough.wait(30)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["nanoseg: line 1\\x1b", "nanoseg: line 2\\x1b"]
    with status_line(line, visible=False):
        pass
    assert len(lines) == len(asked)
