"""When a source counts as lost and is tried again, on a clock of the tests' own."""

import random

import pytest

from nanoseg.sources.watchdog import UNKNOWN_S, Do, Phase, Watchdog


class Simulation:
    """A watchdog and a source of which the test says what it does."""

    def __init__(self, **options) -> None:
        self.now_s, self.count, self.attempts_s, self.kills_s = 0.0, 0, [], []
        self.process_s: float | None = 0.0  # that it takes a process to start; None: it does not
        self.dog = Watchdog(0.0, **options)

    def tick(self) -> Do:
        todo = self.dog.tick(self.now_s)
        if todo is Do.OPEN:
            self.attempts_s.append(self.now_s)
            if self.process_s is not None:
                self.now_s += self.process_s
                self.dog.started(self.now_s)
        elif todo is Do.KILL:
            self.kills_s.append(self.now_s)
        return todo

    def until(self, end_s, refuse=False):
        """Let time pass, with a source that refuses to be opened, or hangs."""
        while self.dog.deadline_s <= end_s:
            self.now_s = max(self.now_s, self.dog.deadline_s)
            if self.tick() is Do.OPEN and refuse:
                self.dog.lost(self.now_s, "Connection refused")
                self.dog.ended(self.now_s)
        self.now_s = end_s

    def open(self, opening_s=0.3, starting_s=0.2):
        """Wait until it is opened, and give the first frame."""
        self.now_s = max(self.now_s, self.dog.deadline_s)
        assert self.tick() is Do.OPEN
        self.now_s += opening_s
        self.dog.opened(self.now_s)
        self.now_s += starting_s
        assert self.frame()

    def lose(self):
        """The source fails, and is closed."""
        self.dog.lost(self.now_s, "gone")
        self.dog.ended(self.now_s)

    def reopen(self, times, opening_s=0.3):
        """Lose the source, and open it again at once."""
        for _ in range(times):
            self.lose()
            self.open(opening_s)

    def frame(self, checksum=None):
        self.count += 1
        return self.dog.frame(self.now_s, (self.count, None) if checksum is None else (checksum, checksum))

    def frames(self, intervals_s):
        """Give a frame after each interval, as long as the source is not lost."""
        for interval_s in intervals_s:
            self.until(self.now_s + interval_s)
            if self.dog.phase is not Phase.LIVE:
                return
            self.frame()

    @property
    def silence_s(self):
        return self.dog.deadline_s - self.now_s


@pytest.mark.parametrize(
    ("intervals_s", "silence_s"),
    [
        ([], UNKNOWN_S),
        ([0.04] * 2, UNKNOWN_S),
        ([0.04] * 3, 3.0),
        ([30.0] * 10, 240.0),
        ([1.0] * 10, 8.0),
        ([*([0.04] * 300), 2.8] * 2, 3.0),  # two stalls do not make it patient
        ([*([0.04] * 300), 2.8] * 3, 4.2),  # three do, for a while
        ([*([0.04] * 300), 2.8] * 3 + [0.04] * 8000, 3.0),
        ([*([0.04] * 100), 2.4] * 20, 3.6),  # bursts
    ],
)
def test_watchdog_learns_the_silence(intervals_s, silence_s):
    simulation = Simulation()
    simulation.open()
    simulation.frames(intervals_s)
    assert simulation.dog.phase is Phase.LIVE
    assert simulation.silence_s == pytest.approx(silence_s)
    end_s = simulation.dog.deadline_s
    simulation.until(end_s - 0.001)
    assert not simulation.kills_s
    simulation.until(end_s)
    assert simulation.kills_s == [end_s]
    assert simulation.dog.reason == f"no frame for {silence_s:.1f} s"


def test_watchdog_keeps_what_it_learnt_and_obeys_a_timeout():
    simulation = Simulation()
    simulation.open()
    simulation.frames([0.04] * 10)
    simulation.lose()
    simulation.open()
    assert simulation.silence_s == pytest.approx(3.0)
    simulation = Simulation(timeout_s=10.0)
    simulation.open()
    for intervals_s in ([], [0.04] * 10, [9.0] * 10):
        simulation.frames(intervals_s)
        assert simulation.silence_s == pytest.approx(10.0)


@pytest.mark.parametrize("hangs", [False, True])
def test_watchdog_patience_with_a_source_that_is_away_at_the_start(hangs):
    simulation = Simulation()
    simulation.until(900, refuse=not hangs)
    gaps_s = [after - before for before, after in zip(simulation.attempts_s, simulation.attempts_s[1:], strict=False)]
    if hangs:
        assert gaps_s == pytest.approx([UNKNOWN_S + 0.25] * len(gaps_s))
        assert simulation.dog.reason == "not opened after 40.0 s"
    else:
        assert gaps_s[:5] == pytest.approx([0.5, 1, 2, 2, 2])
        assert set(gaps_s[160:]) == {3.0}
        assert simulation.dog.reason == "Connection refused"
        assert not simulation.kills_s


@pytest.mark.parametrize(("refuses", "worst_s"), [(True, 4.0), (False, 5.0)])
def test_watchdog_recovers_soon_after_the_return(refuses, worst_s):
    """An attempt that began while the source was away fails or hangs; it must not be waited for."""
    delays_s = []
    for seed in range(300):
        simulation, away_s = Simulation(), random.Random(seed).uniform(0, 45)
        simulation.open()
        simulation.reopen(2)
        simulation.frames([0.04] * 200)
        back_s = simulation.now_s + away_s
        simulation.until(back_s, refuse=refuses)
        if simulation.dog.phase is Phase.LIVE:
            continue  # it was away for less than is noticed
        while simulation.dog.phase is not Phase.PAUSE:
            simulation.until(simulation.dog.deadline_s)
        simulation.open()
        delays_s.append(simulation.now_s - back_s)
    assert len(delays_s) > 200
    assert max(delays_s) < worst_s


def test_watchdog_waits_for_a_source_that_became_slow():
    simulation = Simulation()
    simulation.open(opening_s=0.1, starting_s=0.1)
    simulation.reopen(2)
    simulation.frames([0.04] * 10)
    for step in ("opening", "starting"):
        simulation.lose()
        tries = 0
        while True:
            tries += 1
            simulation.now_s = simulation.dog.deadline_s
            assert simulation.tick() is Do.OPEN
            if step == "starting":
                simulation.dog.opened(simulation.now_s)
            if simulation.dog.deadline_s - simulation.now_s > 12:  # so long it takes now
                break
            simulation.now_s = simulation.dog.deadline_s
            assert simulation.tick() is Do.KILL
        assert tries == {"opening": 17, "starting": 3}[step]
        simulation.now_s += 12
        simulation.dog.opened(simulation.now_s)
        simulation.frame()
    simulation.frames([0.04] * 200)
    simulation.lose()
    simulation.now_s = simulation.dog.deadline_s
    simulation.tick()
    assert simulation.silence_s == pytest.approx(36.0)  # learnt


@pytest.mark.parametrize(("since", "limit_s"), [(0, 12.0), (7, 12.0), (8, 3.5)])
def test_watchdog_forgets_a_slow_opening(since, limit_s):
    simulation = Simulation()
    simulation.open()
    simulation.reopen(3)
    simulation.reopen(1, opening_s=4.0)
    simulation.reopen(since)
    simulation.lose()
    simulation.now_s = simulation.dog.deadline_s
    assert simulation.tick() is Do.OPEN
    simulation.dog.started(simulation.now_s)
    assert simulation.silence_s == pytest.approx(limit_s)


def test_watchdog_waits_for_keyframes_that_are_rare():
    """One in ten seconds: openings that happened to meet one at once do not make it impatient."""
    timeouts = worst = 0
    for seed in range(200):
        simulation, chance = Simulation(), random.Random(seed)
        simulation.open(opening_s=chance.uniform(0.1, 10), starting_s=0.0)
        for _ in range(5):
            simulation.frames([0.04] * 5)
            simulation.lose()
            before = timeouts
            while True:
                simulation.now_s = simulation.dog.deadline_s
                assert simulation.tick() is Do.OPEN
                opened_s = simulation.now_s + chance.uniform(0.1, 10)
                if opened_s < simulation.dog.deadline_s:
                    break
                simulation.now_s = simulation.dog.deadline_s
                simulation.tick()
                timeouts += 1
            simulation.now_s, worst = opened_s, max(worst, timeouts - before)
            simulation.dog.opened(simulation.now_s)
            simulation.frame()
    assert timeouts < 100  # of 1000
    assert worst <= 4


def test_watchdog_does_not_take_a_slow_start_of_the_process_for_the_source():
    simulation = Simulation()
    simulation.process_s = 15.0
    simulation.open()
    simulation.process_s = 0.0
    simulation.lose()
    begin_s = simulation.dog.deadline_s
    simulation.until(begin_s + 3.5)
    assert simulation.kills_s == [begin_s + 3.5]
    simulation.process_s = None
    begin_s = simulation.dog.deadline_s
    simulation.until(begin_s + 20)
    assert simulation.kills_s[1:] == [begin_s + 20]


def test_watchdog_kills_what_does_not_close():
    simulation = Simulation()
    simulation.open()
    simulation.dog.lost(simulation.now_s, "gone")
    lost_s = simulation.now_s
    simulation.until(lost_s + 2.0)
    assert simulation.kills_s == [lost_s + 2.0]
    assert simulation.attempts_s[-1] == lost_s + 2.0
    assert simulation.dog.reason == "gone"


def test_watchdog_pauses_grow_where_a_source_gives_a_frame_at_a_time():
    simulation = Simulation()
    for _ in range(10):
        simulation.open(opening_s=0.0, starting_s=0.0)
        simulation.dog.ended(simulation.now_s, "gone")
    gaps_s = [after - before for before, after in zip(simulation.attempts_s, simulation.attempts_s[1:], strict=False)]
    assert gaps_s[-1] == 2.0


def test_watchdog_frozen_picture():
    simulation = Simulation(frozen_s=60.0)
    simulation.open()
    simulation.frames([0.5] * 50)

    def freeze():
        """Give the same picture until the source is lost; returns after how long, and how many were fresh."""
        begin_s, fresh = simulation.now_s, 0
        while simulation.dog.phase is Phase.LIVE:
            simulation.until(simulation.now_s + 0.5)
            fresh += simulation.frame(checksum=-7)
        assert simulation.tick() is Do.KILL
        return simulation.now_s - begin_s, fresh

    assert freeze() == (pytest.approx(60.5), 1)
    assert simulation.dog.reason == "the same picture for 60 s"
    # The very same after it: the scene stands still.
    simulation.now_s = simulation.dog.deadline_s
    simulation.tick()
    simulation.dog.opened(simulation.now_s)
    assert not simulation.frame(checksum=-7)
    assert freeze() == (pytest.approx(120.0), 0)
    assert simulation.dog.reason == "the same picture for 120 s"
    simulation.open()  # another one: it was frozen
    assert freeze()[0] == pytest.approx(60.5)


def test_watchdog_frozen_never():
    simulation = Simulation(frozen_s=0.0)
    simulation.open()
    for _ in range(1000):
        simulation.until(simulation.now_s + 0.5)
        assert simulation.frame(checksum=3)


def test_watchdog_ignores_what_comes_too_late():
    simulation = Simulation()
    simulation.open()
    simulation.dog.lost(simulation.now_s, "gone")
    assert not simulation.frame()
    simulation.dog.opened(simulation.now_s)
    assert simulation.dog.phase is Phase.CLOSING
    simulation.dog.ended(simulation.now_s, "later")
    assert (simulation.dog.phase, simulation.dog.reason) == (Phase.PAUSE, "gone")
