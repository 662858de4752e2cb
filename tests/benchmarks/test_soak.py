"""The judgement of a soak: which frame ends which fault, what is kept in its checkpoint, and which promises break."""

import json

import pytest

from nanoseg.errors import UsageError
from nanoseg.sources.fault_schedule import FaultSchedule
from soak_checkpoint import Checkpoint
from soak_figures import histogram, lines, process_figures, report
from soak_recovery import HANG_S, Recoveries, Recovery

FIGURES = {"descriptors": 50, "threads": 9, "processes": 4, "resident_mb": 75.0, "resident_mb_a_process": 90.0}
ENDED = {"start": FIGURES, "end": FIGURES, "left": [], "stopped": False}


def recovery(seconds=0.1, kind="hang", number=1):
    return Recovery("cam", number, kind, 10.0, 12.0, seconds, True, "no frame for 3.0 s")


def test_a_fault_is_over_by_the_first_picture_of_after_it():
    schedule = FaultSchedule(("hang",), 1, 10.0, 2.0, count=2)
    first, second = schedule.faults()
    watched = Recoveries("cam", schedule)
    assert not list(watched.frame(5, 5, 0))
    assert not list(watched.tick(first.start_s, 0, ""))
    assert not list(watched.frame(first.end_s + 1, first.end_s - 0.1, 0))  # an old picture
    assert not list(watched.frame(first.end_s - 0.1, first.end_s + 1, 0))  # a picture of the future
    assert not list(watched.tick(first.end_s + 1, 1, "no frame"))
    (found,) = watched.frame(first.end_s + 1.5, first.end_s + 1.4, 1)
    assert found == Recovery("cam", 1, "hang", first.start_s, first.end_s, pytest.approx(1.5), True, "no frame")
    assert not watched.done
    list(watched.tick(second.start_s, 1, ""))
    assert not list(watched.tick(second.end_s + HANG_S - 1, 1, ""))
    (found,) = watched.tick(second.end_s + HANG_S + 1, 1, "gone")
    assert (found.seconds, found.reconnected, found.reason) == (None, False, "gone")
    assert watched.done


def test_a_camera_that_returns_after_another_fault_took_all_that_time():
    schedule = FaultSchedule(("hang",), 1, 10.0, 2.0, count=2)
    first, second = schedule.faults()
    watched = Recoveries("cam", schedule)
    list(watched.tick(second.end_s, 0, ""))
    found = list(watched.frame(second.end_s + 1, second.end_s + 1, 1))
    assert [each.seconds for each in found] == [pytest.approx(second.end_s + 1 - first.end_s), pytest.approx(1)]


def test_checkpoint_goes_on_and_counts_what_has_no_end_as_a_crash(tmp_path):
    path, wanted = tmp_path / "soak.jsonl", {"faults": 3}
    one = Checkpoint(path, wanted)
    one.start(FIGURES)
    one.add(recovery())
    one.end(FIGURES, ["threads from 1 to 2"], True)
    two = Checkpoint(path, wanted)
    assert (two.recoveries, two.sessions) == (one.recoveries, one.sessions)
    two.start(FIGURES)
    two.add(recovery(None))
    with path.open("a") as file:
        file.write('{"recovery": {"came')
    three = Checkpoint(path, wanted)
    assert len(three.recoveries) == 2
    found = report(three.recoveries, three.sessions)
    assert (found["faults"], found["hangs"], found["crashes"]) == (2, 1, 1)
    assert found["broken"] == ["1 hangs", "1 crashes", "threads from 1 to 2"]
    with pytest.raises(UsageError, match="another --checkpoint"):
        Checkpoint(path, {"faults": 4})


def test_report_of_a_sound_soak():
    found = report([recovery(0.2, "cut"), *[recovery(0.1)] * 98, recovery(7.0)], [ENDED])
    assert (found["p50_s"], found["p99_s"], found["max_s"]) == (0.1, 0.2, 7.0)
    assert found["kinds"]["cut"]["faults"] == 1
    assert (sum(found["histogram_s"].values()), found["histogram_s"]["> 5"]) == (100, 1)
    assert lines(found)[-1] == "every promise is kept"
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"descriptors": 51}, "descriptors from 50 to 51"),
        ({"threads": 8}, "threads from 9 to 8"),
        ({"processes": 5}, "processes from 4 to 5"),
        ({"resident_mb": 85.1}, "resident_mb from 75.0 to 85.1, wanted at most 10 MB more"),
        ({"resident_mb_a_process": 101.0}, "resident_mb_a_process from 90.0 to 101.0, wanted at most 10 MB more"),
    ],
)
def test_report_of_what_grew(change, line):
    assert report([recovery()], [{**ENDED, "end": FIGURES | change}])["broken"] == [line]


def test_report_of_slow_recoveries():
    found = report([recovery(6.0)] * 2 + [recovery(0.1)] * 98, [ENDED])
    assert found["broken"] == ["p99 of the recovery is 6.00 s, wanted at most 5 s"]


def test_histogram_bounds_are_inclusive():
    assert [count for count in histogram([0.0, 0.25, 5.0, 5.1]).values() if count] == [2, 1, 1]


def test_process_figures_of_this_process():
    figures = process_figures()
    assert figures["threads"] >= 1
    assert figures["resident_mb"] > 10
