"""The watchdog on a machine that has too much to do: giving up early would make it worse."""

import pytest

from nanoseg.sources.watchdog import Do, Watchdog


def test_watchdog_waits_longer_where_the_machine_is_slow():
    dog = Watchdog(0.0)
    limits_s, now_s = [], 0.0
    for start_s in (0.5, 0.5, 2.0, 40 * 0.5, 0.25):
        assert dog.tick(now_s) is Do.OPEN
        dog.started(now_s + start_s, new=True)
        dog.opened(now_s + start_s + 0.1)
        dog.frame(now_s + start_s + 0.2, (int(start_s * 100), None))
        dog.lost(now_s + start_s + 0.3, "gone")
        dog.ended(now_s + start_s + 0.4)
        now_s = dog.deadline_s
        assert dog.tick(now_s) is Do.OPEN
        dog.started(now_s + 0.001)  # in the same process: it tells nothing of the machine
        limits_s.append(dog.deadline_s - now_s - 0.001)
        dog.ended(now_s + 0.2, "refused")
        now_s = dog.deadline_s
    assert [limit / limits_s[0] for limit in limits_s] == pytest.approx([1, 1, 4, 8, 1])
