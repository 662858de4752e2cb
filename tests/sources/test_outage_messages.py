"""What is told of a source that is lost, comes back, and comes and goes."""

import pytest

from nanoseg.sources.camera_clock import MediaClock, Rate
from nanoseg.sources.outage_messages import OutageMessages


def told(events, end_s=0.0):
    """The lines of some losses and returns, each with its time; after a return a frame comes every second."""
    lines = []
    messages, live_s = OutageMessages("cam", 0.0, lambda line: lines.append((now_s, line))), None
    for at_s, reason in [*events, (end_s, None)]:
        while live_s is not None and live_s + 1 <= at_s:
            now_s = live_s = live_s + 1
            messages.live(now_s)
        now_s = at_s
        if reason is None:
            live_s = at_s if events else None
            messages.live(at_s, "now 640x480" if at_s == 1300 else "")
        else:
            live_s = None
            messages.lost(at_s, reason)
    return lines


AGAIN = "trying again until it is there"


@pytest.mark.parametrize(
    ("events", "end_s", "lines"),
    [
        ([(0, None)], 100, []),
        (
            [(0, "refused"), (1, "refused"), (2, "no route"), (130, None)],
            200,
            [(0, f"cam: cannot be opened yet: refused; {AGAIN}"), (130, "cam: open after 130.0 s")],
        ),
        (
            [(0, None), (3, "gone"), (4, "refused"), (5, None), (1200, "gone"), (1300, None)],
            1400,
            [
                (3, f"cam: lost: gone; {AGAIN}"),
                (5, "cam: back after 2.0 s"),
                (1200, f"cam: lost: gone; {AGAIN}"),
                (1300, "cam: back after 100.0 s; now 640x480"),
            ],
        ),
        (
            [(0, None), *((at, "gone" if at % 2 else None) for at in range(101, 200)), (200, None)],
            230,
            [
                (101, f"cam: lost: gone; {AGAIN}"),
                (102, "cam: back after 1.0 s"),
                (103, "cam: comes and goes: gone; opening it again each time"),
                (210, "cam: back after 99.0 s"),
            ],
        ),
    ],
)
def test_outage_messages(events, end_s, lines):
    assert told(events, end_s) == lines


@pytest.mark.parametrize("period_s", [0.5, 3, 9, 11, 15, 30, 60])
def test_outage_messages_of_a_source_that_comes_and_goes_are_few(period_s):
    events = []
    for index in range(int(3600 / period_s)):
        events += [(index * period_s, None), ((index + 0.9) * period_s, "gone")]
    assert 3 <= len(told(events)) <= 20


def test_media_clock_goes_on_through_losses_and_jumps():
    clock, hour_ns = MediaClock(), 3_600_000_000_000
    assert [
        clock.read(*times)
        for times in [
            (1000, 5000),
            (1041, 5040),  # its own pace, not that of the arrival
            (1080, 5080),
            (1120, hour_ns),  # set forth, and back
            (1160, hour_ns + 40),
            (1200, 0),
            (1240, None),
            (1280, 80),
        ]
    ] == [0, 40, 80, 120, 160, 200, 240, 280]
    clock.restart()
    assert clock.read(2280, 7) == 1280
    assert clock.read(2330, 47) == 1320


def test_rate_is_of_the_last_seconds():
    rate = Rate()
    assert rate.read() is None
    for index in range(100):
        rate.add(index)
    for index in range(200):
        rate.add(100 + index / 25)
    assert rate.read() == pytest.approx(25, rel=0.01)
    rate.clear()
    rate.add(7.0)
    rate.add(7.0)
    assert rate.read() is None
