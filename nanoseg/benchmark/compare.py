"""Two reports compared: ratios by stage with intervals that hold for all of them together, and what else differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from nanoseg.benchmark.latency import END_TO_END, Effort, Series, time_call
from nanoseg.benchmark.report import Configuration, Report, whole_stage
from nanoseg.benchmark.statistics import LEVEL, MIN_SAMPLES, Ratio, Samples, ratio_interval
from nanoseg.errors import UsageError
from nanoseg.segmenter import Segmenter
from nanoseg.types import Frame

# What must be the same for a ratio to be that of the software: names of Report and of its environment.
_REPORT = ("backend", "device", "quick")
_ENVIRONMENT = (
    *("board", "module", "super", "cpu", "cpus", "gpu", "power_mode", "clocks_locked", "governor", "jetpack", "driver"),
    *("cuda", "tensorrt", "python", "libraries", "variables", "nanoseg", "kernel"),
)
_LOAD = "cpu_share_of_others"
_OTHER_LOAD = 0.10  # of all processors' time, from which on a difference of it is told
_NEGLIGIBLE = 0.01  # of the whole's median: a stage that is shorter is not compared, as nothing depends on it


class Row(msgspec.Struct, frozen=True):
    """One stage of one configuration in both."""

    title: str  # "640x480, 4 objects, call"
    stage: str
    first_ms: float  # medians
    second_ms: float
    ratio: float  # second / first
    low: float
    high: float
    word: str  # "slower" or "faster", as the second is; else "equal"

    @property
    def whole(self) -> bool:
        """Whether this is a whole frame."""
        return self.stage in ("end_to_end", "interval", "age")


class Comparison(msgspec.Struct, frozen=True):
    """Two reports compared."""

    level: float  # probability that all intervals hold
    rows: list[Row]
    differences: list[str]  # of the environments, one line each
    interleaved: bool = False


def compare_reports(first: Report, second: Report) -> Comparison:
    """Compare the configurations that two reports share.

    Raises:
        UsageError: They share none, or one has too few frames.
    """
    by_title = {_key(each): each for each in second.configurations}
    pairs = [(each, by_title[_key(each)]) for each in first.configurations if _key(each) in by_title]
    if not pairs:
        titles = "; ".join(each.title for each in first.configurations)
        raise UsageError(f"nothing to compare: the second report has none of the configurations of the first: {titles}")
    series = [
        (one.title, stage, one.stages[stage].values_ms(), other.stages[stage].values_ms())
        for one, other in pairs
        for stage in one.stages
        if stage in other.stages and _counts(one, stage) and _counts(other, stage)
    ]
    differences = environment_differences(first, second)
    for which, one, other in (("first", first, second), ("second", second, first)):
        keys = {_key(each) for each in other.configurations}
        if alone := [each.title for each in one.configurations if _key(each) not in keys]:
            differences.append(f"only the {which} has: {'; '.join(alone)}")
    return Comparison(LEVEL, _rows(series, paired=False), differences)


def compare_interleaved(
    first: Segmenter,
    second: Segmenter,
    frames: Sequence[Frame],
    effort: Effort,
    title: str,
    advance: Callable[[], None] = lambda: None,
    comparisons: int = 1,
) -> Comparison:
    """Run two segmenters in turns on the same frames, and compare them pair by pair; of `comparisons` together.

    What slows the machine down for longer than a frame hits both. Who goes first changes from pair to pair.
    """
    series = Series("call"), Series("call")
    for index in range(effort.warm_up):
        for segmenter in (first, second):
            segmenter(frames[index % len(frames)]).materialize()
    began_s = time.perf_counter()
    while not effort.enough(len(series[0].objects), time.perf_counter() - began_s):
        index = len(series[0].objects)
        turns = list(zip((first, second), series, strict=True))
        for segmenter, each in turns if index % 2 else reversed(turns):
            time_call(segmenter, frames[index // 2 % len(frames)], each)
        advance()
    one, other = (each.spent_ms for each in series)
    shares = {stage: sum(one[stage]) for stage in one}
    stages = [stage for stage in one if shares[stage] >= _NEGLIGIBLE * shares[END_TO_END]]
    rows = _rows([(title, stage, one[stage], other[stage]) for stage in stages], paired=True, times=comparisons)
    return Comparison(LEVEL, rows, [], interleaved=True)


def environment_differences(first: Report, second: Report) -> list[str]:
    """Return what differs beside the latencies, one line each: ratios then are not those of one change."""
    lines = []
    for name in ("sha256", "precision"):
        one, other = first.bundle.get(name), second.bundle.get(name)
        if one != other:
            lines.append(f"bundle {name}: {_short(one)} against {_short(other)}")
    for name in _REPORT:
        if (one := getattr(first, name)) != (other := getattr(second, name)):
            lines.append(f"{name}: {_short(one)} against {_short(other)}")
    for name in _ENVIRONMENT:
        one, other = first.environment.get(name), second.environment.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            lines += [
                f"{key}: {_short(one.get(key))} against {_short(other.get(key))}"
                for key in sorted({*one, *other})
                if one.get(key) != other.get(key)
            ]
        elif one != other:
            lines.append(f"{name}: {_short(one)} against {_short(other)}")
    share, other_share = (report.environment.get(_LOAD) for report in (first, second))
    if (
        isinstance(share, (int, float))
        and isinstance(other_share, (int, float))
        and abs(share - other_share) > _OTHER_LOAD
    ):
        lines.append(f"processor time of others: {share:.0%} against {other_share:.0%}")
    for which, report in (("first", first), ("second", second)):
        if report.quick:
            lines.append(
                f"the {which} is a quick look of {report.queries} frames each: where latencies drift slowly, equal "
                "runs may seem to differ"
            )
        if not report.valid:
            more = f", and {len(report.reasons) - 1} more" if len(report.reasons) > 1 else ""
            lines.append(f"the {which} is not valid: {report.reasons[0]}{more}")
    return lines


def _rows(series: Sequence[tuple[str, str, Samples, Samples]], paired: bool, times: int = 1) -> list[Row]:
    for title, stage, *both in series:
        if min(map(len, both)) < MIN_SAMPLES:
            raise UsageError(f"{title}: {stage}: wanted {MIN_SAMPLES} frames or more, got {min(map(len, both))}")
        if any(not (np.asarray(samples) > 0).all() for samples in both):
            raise UsageError(f"{title}: {stage}: a latency of 0 ms cannot be compared: was the clock set back?")
    return [
        _row(
            title, stage, one, other, ratio_interval(one, other, paired=paired, family=len(series) * times, seed=index)
        )
        for index, (title, stage, one, other) in enumerate(series)
    ]


def _row(title: str, stage: str, one: Samples, other: Samples, ratio: Ratio) -> Row:
    return Row(
        title,
        stage,
        round(float(np.median(one)), 4),
        round(float(np.median(other)), 4),
        round(ratio.ratio, 5),
        round(ratio.low, 5),
        round(ratio.high, 5),
        ratio.word,
    )


def _key(each: Configuration) -> tuple[str, float | None, str]:
    return each.frame, None if each.mode == "camera" else each.objects, each.mode


def _counts(each: Configuration, stage: str) -> bool:
    """Whether a stage ran for each frame and is worth a comparison: every further one makes all intervals wider."""
    if stage == whole_stage(each.mode):
        return True
    spent_ms = each.stages[stage].values_ms()
    return bool((spent_ms > 0).all()) and float(np.median(spent_ms)) >= _NEGLIGIBLE * each.whole.percentiles_ms["p50"]


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 and " " not in text else text
