"""The schedule of faults: the same for the same seed, within its bounds, and read from text."""

from itertools import islice

import pytest

from nanoseg.errors import UsageError
from nanoseg.sources.fault_schedule import FRAME_KINDS, KINDS, Fault, FaultSchedule, parse_fault_schedule


def test_a_seed_repeats_its_faults_and_another_has_others():
    one, same, other = (FaultSchedule(tuple(KINDS), seed) for seed in (7, 7, 8))
    assert list(islice(one.faults(), 50)) == list(islice(same.faults(), 50)) != list(islice(other.faults(), 50))


@pytest.mark.parametrize(("every_s", "for_s"), [(20, 3), (2, 1.9), (1, 0.01)])
def test_faults_lie_in_their_periods_and_never_in_the_first(every_s, for_s):
    schedule = FaultSchedule(tuple(KINDS), 3, every_s, for_s)
    end_s = every_s
    for fault in islice(schedule.faults(), 200):
        assert end_s <= fault.start_s < fault.end_s
        assert fault.end_s - fault.start_s <= 1.5 * for_s + 1e-9
        end_s = fault.end_s
        assert schedule.at(fault.start_s) == schedule.at((fault.start_s + fault.end_s) / 2) == fault
        assert schedule.at(fault.end_s) is None
    assert schedule.at(0) is schedule.at(every_s * 0.99) is None


def test_a_count_ends_them():
    endless, three = FaultSchedule(tuple(KINDS), 7), FaultSchedule(tuple(KINDS), 7, count=3)
    assert list(three.faults()) == list(islice(endless.faults(), 3))
    for fault in islice(endless.faults(), 6):
        assert three.at(fault.start_s) == (fault if fault.number <= 3 else None)


def test_all_kinds_come():
    assert {fault.kind for fault in islice(FaultSchedule(tuple(KINDS)).faults(), 400)} == set(KINDS)


def test_parse_fault_schedule():
    parsed = parse_fault_schedule("seed=7&kinds=hang,gone&every=2min&for=500ms", tuple(KINDS))
    assert parsed == FaultSchedule(("hang", "gone"), 7, 120, 0.5)
    assert parse_fault_schedule("count=12", ("hang",)) == FaultSchedule(("hang",), count=12)
    assert parse_fault_schedule("", tuple(FRAME_KINDS)) == FaultSchedule(tuple(FRAME_KINDS))
    assert isinstance(parsed.fault(1), Fault)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("kind=hang", "unknown option 'kind'; there are source, name, timeout, frozen, seed, kinds, every, for, count"),
        ("kinds=hang,fire", "no kind 'fire'; wanted some of freeze, black"),
        ("kinds=reset", "no kind 'reset' of this source; an RTSP stream has it; wanted some of freeze"),
        ("kinds=", "kinds is empty"),
        ("seed=-1", "seed=-1: wanted a number from 0 on"),
        ("seed=" + "9" * 5000, "wanted a number from 0 on"),
        ("count=few", "count=few: wanted a number from 0 on"),
        ("every=soon", "every=soon: wanted a time such as 20s, 500ms or 2min"),
        ("every=0", "every=0: wanted a time"),
        ("for=30s", "for=30s: wanted less than every=20s"),
    ],
)
def test_parse_fault_schedule_refuses(options, message):
    with pytest.raises(UsageError) as error:
        parse_fault_schedule(options, tuple(FRAME_KINDS))
    assert message in str(error.value)
