"""Percentiles of latencies, and ratios of two series of latencies with bootstrap confidence intervals.

Successive latencies are correlated: clocks, caches and other processes change slowly. A bootstrap of single samples
takes them for independent, finds intervals that are too narrow, and calls equal runs different. So blocks of successive
samples are drawn, several times as long as the samples stay correlated, and where that leaves few blocks the interval
is widened as Student's t is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 200  # a standard error is known to 5 %
PERCENTS = (50, 90, 95, 99)
MIN_SAMPLES = 8  # of a series that is compared
_CORRELATION_TIMES = 8  # of a block: shorter ones lose a part of the correlation
_MIN_BLOCKS = 8
_ROUNDING = 1e-12
_TRIM = 0.25  # of paired logarithms, at each end: a pair that something else slowed down says nothing

Samples = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Ratio:
    """How much longer the second of two takes, and between which limits that is."""

    ratio: float  # second / first
    low: float
    high: float
    level: float  # of the interval: 0.95

    @property
    def differs(self) -> bool:
        """Whether 1 is outside of the interval."""
        return self.low > 1 or self.high < 1

    @property
    def word(self) -> str:
        """Return "slower" or "faster", as the second is, where the two differ, else "equal"."""
        return "equal" if not self.differs else "slower" if self.ratio > 1 else "faster"

    def __str__(self) -> str:
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


def latency_percentiles(spent_ms: Samples) -> dict[str, float]:
    """Return `{"p50": ..., "p90": ..., "p95": ..., "p99": ..., "max": ..., "mean": ...}`; empty for no values."""
    if not len(spent_ms):
        return {}
    values = np.asarray(spent_ms, np.float64)
    found = dict(zip((f"p{percent}" for percent in PERCENTS), np.percentile(values, PERCENTS), strict=True))
    found |= {"max": values.max(), "mean": values.mean()}
    return {name: round(float(value), 4) for name, value in found.items()}


def ratio_interval(
    first: Samples, second: Samples, *, paired: bool = False, level: float = LEVEL, family: int = 1, seed: int = 0
) -> Ratio:
    """Return the ratio of two series of latencies, second / first, with its confidence interval.

    Args:
        first: Latencies in the order they were measured, at least 8 and all above 0; any unit.
        second: Latencies of the other.
        paired: They were measured in turns, and belong together one by one: the ratio is the mean of the pairs'
            logarithms without the outer quarters, which is what a slow drift of the machine does not touch. Otherwise
            it is the ratio of medians.
        level: Probability that the interval holds the true ratio, and that all intervals of a family do.
        family: Number of ratios that are looked at together. Of 20 at 0.95 one would differ by chance; each gets
            Bonferroni's level instead.
        seed: Seed of the resampling.

    Raises:
        ValueError: Too few samples, a sample that is not above 0, or pairs of unequal number.
    """
    a, b = _log(first), _log(second)
    rng = np.random.default_rng(seed)
    if paired:
        if len(a) != len(b):
            raise ValueError(f"pairs: wanted as many of each, got {len(a)} and {len(b)}")
        center, errors = _center(b - a, _trimmed_mean, rng)
    else:
        (first_center, first_errors), (second_center, second_errors) = (_center(x, _median, rng) for x in (a, b))
        center = second_center - first_center
        errors = _Errors(
            math.hypot(first_errors.deviation, second_errors.deviation),
            _joint_freedom((first_errors, second_errors)),
        )
    half = student_quantile(0.5 + 0.5 * (1 - (1 - level) / family), errors.freedom) * errors.deviation
    return Ratio(math.exp(center), math.exp(center - half), math.exp(center + half), level)


@dataclass(frozen=True)
class _Errors:
    deviation: float  # standard error
    freedom: float  # degrees of freedom with which that is known


def correlation_time(values: np.ndarray) -> float:
    """Return how many successive samples say as much about the median as one independent sample; at least 1.

    It is 1 + 2 times the sum of the autocorrelations of being above the median, whatever outliers there are. The sum
    ends where its lag exceeds five times itself (Sokal's window), as the rest is noise.
    """
    above = np.sign(values - np.median(values))
    above -= above.mean()
    count, power = len(above), float(above @ above)
    if not power:
        return 1.0
    spectrum = np.fft.rfft(above, 2 * count)
    correlations = np.fft.irfft(spectrum * spectrum.conj(), 2 * count)[:count] / power
    times = 2 * np.cumsum(correlations) - 1
    ended = np.flatnonzero(np.arange(count) >= 5 * times)
    return max(1.0, float(times[ended[0] if len(ended) else -1]))


def block_length(values: np.ndarray) -> int:
    """Return the number of successive samples to draw together: at most an eighth of all."""
    wanted: float = max(len(values) ** (1 / 3), _CORRELATION_TIMES * correlation_time(values))
    return max(1, min(math.ceil(wanted), len(values) // _MIN_BLOCKS))


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t distribution, by Cornish and Fisher's expansion: within 1 % from 5 on."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _log(samples: Samples) -> np.ndarray:
    values = np.asarray(samples, np.float64)
    if values.ndim != 1 or len(values) < MIN_SAMPLES:
        raise ValueError(f"samples: wanted {MIN_SAMPLES} or more, got {values.size}")
    if not (values > 0).all() or not np.isfinite(values).all():
        raise ValueError("samples: wanted finite numbers above 0")
    return np.log(values)


def _center(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator
) -> tuple[float, _Errors]:
    """Return a statistic of a series, and its error by the circular block bootstrap."""
    count, length = len(values), block_length(values)
    blocks = math.ceil(count / length)
    starts = rng.integers(0, count, (RESAMPLES, blocks))
    picked = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    deviation = float(statistic(values[picked]).std()) * math.sqrt(blocks / (blocks - 1))
    deviation = 0.0 if deviation < _ROUNDING else deviation
    return float(statistic(values[None])[0]), _Errors(deviation, blocks - 1)


def _median(rows: np.ndarray) -> np.ndarray:
    half = rows.shape[1] // 2
    middle = [half] if rows.shape[1] % 2 else [half - 1, half]
    return np.asarray(np.partition(rows, middle, axis=1)[:, middle].mean(1))  # np.median takes twice as long


def _trimmed_mean(rows: np.ndarray) -> np.ndarray:
    cut = int(rows.shape[1] * _TRIM)
    parted = np.partition(rows, (cut, rows.shape[1] - cut - 1), axis=1)
    return np.asarray(parted[:, cut : rows.shape[1] - cut].mean(1))


def _joint_freedom(errors: Sequence[_Errors]) -> float:
    """Return the degrees of freedom of a difference, by Welch and Satterthwaite."""
    squares = [each.deviation**2 for each in errors]
    if not sum(squares):
        return min(each.freedom for each in errors)
    return sum(squares) ** 2 / sum(square**2 / each.freedom for square, each in zip(squares, errors, strict=True))
