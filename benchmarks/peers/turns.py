"""Sides that take turns in one process, so that a busy machine slows down all, and the ratio of two of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from nanoseg.benchmark.statistics import ratio_interval

WARM_UP = 2
Stages = dict[str, float]  # milliseconds of one turn, `total` among them
Side = Callable[[int], Stages]  # of the number of the round


def timed(work: Callable[[int], object], repeats: int = 1, clock: Callable[[], float] = time.perf_counter) -> Side:
    """Return a side whose only stage is `total`, the mean of so many calls.

    Of work in one thread `time.thread_time` is the better clock: other load counts only for its caches.
    """

    def side(index: int) -> Stages:
        started = clock()
        for _ in range(repeats):
            work(index)
        return {"total": (clock() - started) * 1e3 / repeats}

    return side


def take_turns(sides: Mapping[str, Side], rounds: int, warm_up: int = WARM_UP) -> dict[str, list[Stages]]:
    """Return each side's stages of every round after the warm-up.

    Args:
        sides: What takes turns; who goes first changes with the round, as whatever slows the first down hits all.
        rounds: So many are kept.
        warm_up: Rounds before those, which fill caches and memory arenas; their numbers are negative.
    """
    spent: dict[str, list[Stages]] = {name: [] for name in sides}
    for index in range(-warm_up, rounds):
        first = index % len(sides)
        names = list(sides)[first:] + list(sides)[:first]
        taken = {name: sides[name](index) for name in names}
        if index >= 0:
            for name, stages in taken.items():
                spent[name].append(stages)
    return spent


def medians(stages: Sequence[Stages]) -> Stages:
    """Return the median of each stage."""
    return {name: round(statistics.median(each[name] for each in stages), 3) for name in stages[0]}


def totals(stages: Sequence[Stages], stage: str = "total") -> list[float]:
    """Return one stage of every round."""
    return [each[stage] for each in stages]


def ratio(ours: Sequence[float], theirs: Sequence[float], name: str = "ratio") -> dict[str, float]:
    """Return ours / theirs with its 95 % interval, as figures called `name`, `name`_low and `name`_high."""
    found = ratio_interval(theirs, ours, paired=True)
    figures = {name: found.ratio, f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: round(value, 4) for key, value in figures.items()}


def compare(spent: Mapping[str, Sequence[Stages]], ours: str, theirs: str) -> dict[str, float]:
    """Return the figures of two sides: medians of their `total`, and the ratio."""
    times = {name: totals(spent[name]) for name in (ours, theirs)}
    found = {f"{name}_ms": round(statistics.median(values), 3) for name, values in times.items()}
    return {**found, **ratio(times[ours], times[theirs])}
