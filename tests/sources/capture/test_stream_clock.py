"""The moment of capture of a stream's frames: a table of clocks that are right, wrong, set and jammed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest

from nanoseg.sources.capture.stream_clock import StreamClock

MS, S, HOUR = 1_000_000, 1_000_000_000, 3_600_000_000_000
WALL = 1_796_000_000 * S  # of time.time_ns() when the monotonic clock was 0
PERIOD = 40 * MS


@dataclass
class Scene:
    """A camera, a network and this machine; all times in nanoseconds from the first frame's capture."""

    delay: Callable[[int], int] = lambda index: 30 * MS  # from capture to arrival
    media: Callable[[int], int] = lambda t: t  # the camera's media time
    sender: Callable[[int], int | None] = lambda t: WALL + t  # the camera's wall clock
    wall: Callable[[int], int] = lambda t: WALL + t  # this machine's

    def play(self, frames: Iterable[int]) -> tuple[np.ndarray, str]:
        """Return how old each frame is said to be less how old it is, in ms, and the clock of the last one."""
        clock, errors, last = StreamClock(), [], 0
        for index in frames:
            captured = index * PERIOD
            last = arrival = max(last, captured + self.delay(index))  # nothing overtakes
            told = clock.captured_ns(arrival, self.wall(arrival), self.media(captured), self.sender(captured))
            errors.append(((self.wall(arrival) - told) - (arrival - captured)) / MS)
        return np.array(errors), clock.source


def jitter(index: int) -> int:
    return 30 * MS + hash((index, 7)) % (60 * MS)


def jam(index: int) -> int:
    """Nothing comes for five seconds, then all at once."""
    return 30 * MS if not 300 <= index < 425 else (425 - index) * PERIOD + 30 * MS


# The scene; the least and the largest error, ms, after the first second; whose clock in the end.
CASES: dict[str, tuple[Scene, float, float, str]] = {
    "synchronised, jitter": (Scene(delay=jitter), 0, 0, "source"),
    "synchronised, jam of five seconds": (Scene(delay=jam), 0, 0, "source"),
    "20 ms ahead of the truth": (Scene(sender=lambda t: WALL + t + 20 * MS), -20, -20, "source"),
    "40 ms ahead: never younger than nothing": (Scene(sender=lambda t: WALL + t + 40 * MS), -30, -30, "source"),
    "two seconds behind: believed": (Scene(sender=lambda t: WALL + t - 2 * S), 2000, 2000, "source"),
    "no reports, jitter": (Scene(delay=jitter, sender=lambda t: None), -45, -30, "arrival"),
    "no reports, jam": (Scene(delay=jam, sender=lambda t: None), -30, -30, "arrival"),
    "no reports, drift": (Scene(sender=lambda t: None, media=lambda t: t + t // 10_000), -30, -28, "arrival"),
    "never set (1970)": (Scene(delay=jitter, sender=lambda t: t), -45, -30, "arrival"),
    "an hour ahead": (Scene(sender=lambda t: WALL + t + HOUR), -30, -30, "arrival"),
    "never set, then set": (Scene(sender=lambda t: t + (WALL if t > 8 * S else 0)), -30, 0, "source"),
    "an hour ahead, then set": (Scene(sender=lambda t: WALL + t + HOUR * (t < 8 * S)), -30, 0, "source"),
    "set an hour back": (Scene(sender=lambda t: WALL + t - HOUR * (t > 8 * S)), -30, 0, "arrival"),
    "set an hour back for a second": (Scene(sender=lambda t: WALL + t - HOUR * (8 < t / S < 9)), -30, 0, "source"),
    "one wrong report": (Scene(sender=lambda t: WALL + t + 5 * S * (8 < t / S < 9)), -30, 0, "source"),
    "set forth here": (Scene(wall=lambda t: WALL + t + HOUR * (t > 8 * S)), -30, 0, "arrival"),
    "set back here": (Scene(wall=lambda t: WALL + t - HOUR * (t > 8 * S)), -30, 0, "arrival"),
    "no reports, this machine's clock is set": (
        Scene(sender=lambda t: None, wall=lambda t: WALL + t + HOUR * (t > 8 * S)), -30, -30, "arrival",
    ),
    "media jumps back": (Scene(sender=lambda t: None, media=lambda t: t - HOUR * (t > 8 * S)), -30, -30, "arrival"),
    "media jumps forth": (Scene(sender=lambda t: None, media=lambda t: t + HOUR * (t > 8 * S)), -30, -30, "arrival"),
    "media time of one frame is wrong": (
        Scene(sender=lambda t: None, media=lambda t: t + HOUR * (t == 8 * S)), -30, -30, "arrival",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_stream_clock_ages_frames(name: str) -> None:
    scene, least, largest, source = CASES[name]
    errors, last = scene.play(range(750))
    assert least - 0.01 <= errors[25:].min() <= errors[25:].max() <= largest + 0.01, errors
    assert last == source


def test_stream_clock_follows_a_way_that_stays_longer_and_tells_the_lag() -> None:
    clock = StreamClock()
    lags = []
    for index in range(1500):
        arrival = index * PERIOD + (30 if index < 500 else 530) * MS
        clock.captured_ns(arrival, WALL + arrival, index * PERIOD, None)
        lags.append(clock.lag_ns // MS)
    assert lags[0] == lags[499] == 0
    assert lags[500] == lags[700] == 500  # half a second late
    assert lags[-1] == 0


def test_stream_clock_without_media_time_is_the_arrival() -> None:
    clock = StreamClock()
    assert [clock.captured_ns(t, WALL + t, None, None) for t in (0, 50 * MS, 1)] == [WALL, WALL + 50 * MS, WALL + 1]
