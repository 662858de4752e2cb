"""Intervals of ratios hold what they promise on latencies that are correlated, as measured ones are."""

import itertools

import numpy as np
import pytest

from nanoseg.benchmark.statistics import correlation_time, latency_percentiles, ratio_interval, student_quantile

PAIRS = 40
# Student's t by table: (probability, degrees of freedom, quantile).
TABLE = [(0.975, 7, 2.365), (0.975, 30, 2.042), (0.995, 10, 3.169), (0.9995, 20, 3.850), (0.95, 1000, 1.646)]


def latencies(count, correlation, rng, deviation=0.06):
    """Latencies around 20 ms: a first-order process of known correlation, and some outliers."""
    steps = rng.normal(0, deviation * np.sqrt(1 - correlation**2), count)
    steps[0] = rng.normal(0, deviation)
    slow = np.array(list(itertools.accumulate(steps, lambda last, step: correlation * last + step)))
    return 20 * np.exp(slow) * (1 + (rng.random(count) < 0.02) * rng.exponential(1, count))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_equal_runs_compare_as_equal(correlation):
    rng = np.random.default_rng(3)
    runs = [(latencies(1024, correlation, rng), latencies(1024, correlation, rng)) for _ in range(PAIRS)]
    assert sum(ratio_interval(a, b, family=5, seed=i).differs for i, (a, b) in enumerate(runs)) <= 0.05 * PAIRS


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_three_percent_are_seen_in_a_family(correlation):
    rng = np.random.default_rng(4)
    runs = [(latencies(1024, correlation, rng), 1.03 * latencies(1024, correlation, rng)) for _ in range(PAIRS)]
    words = [ratio_interval(a, b, family=20, seed=i).word for i, (a, b) in enumerate(runs)]
    assert words.count("slower") >= 0.8 * PAIRS
    assert "faster" not in words


def test_single_samples_would_call_equal_runs_different(monkeypatch):
    """The correlation is what makes the blocks necessary: with blocks of one sample the same runs differ."""
    rng = np.random.default_rng(5)
    runs = [(latencies(1024, 0.9, rng), latencies(1024, 0.9, rng)) for _ in range(PAIRS)]
    monkeypatch.setattr("nanoseg.benchmark.statistics.block_length", lambda _: 1)
    assert sum(ratio_interval(a, b, seed=i).differs for i, (a, b) in enumerate(runs)) > 0.3 * PAIRS


def test_pairs_cancel_what_slows_both():
    """A machine that drifts by a factor of two hides 3 % from two runs, and not from pairs."""
    rng = np.random.default_rng(6)
    drift = np.exp(np.cumsum(rng.normal(0, 0.05, 600)))
    a, b = (drift * latencies(600, 0, rng, 0.02) for _ in range(2))
    assert not ratio_interval(a, 1.03 * b).differs
    assert ratio_interval(a, 1.03 * b, paired=True).word == "slower"
    assert ratio_interval(1.03 * a, b, paired=True).word == "faster"
    assert ratio_interval(a, b, paired=True).word == "equal"


def test_ratio_is_that_of_medians_and_repeats():
    rng = np.random.default_rng(7)
    a, b = latencies(200, 0.2, rng), 1.5 * latencies(200, 0.2, rng)
    found, inverse = ratio_interval(a, b, seed=1), ratio_interval(b, a, seed=1)
    assert found.ratio == pytest.approx(np.exp(np.median(np.log(b)) - np.median(np.log(a))))
    assert found.low < 1.5 < found.high
    assert inverse.ratio == pytest.approx(1 / found.ratio)
    assert found == ratio_interval(a, b, seed=1)
    wide = ratio_interval(a, b, seed=1, family=20)
    assert wide.low < found.low < found.high < wide.high
    assert ratio_interval([5.0] * 20, [5.0] * 20) == ratio_interval([5.0] * 20, [5.0] * 20, paired=True)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_correlation_time_is_that_of_the_signs(correlation):
    """Of a normal first-order process the signs correlate by 2/pi arcsin(rho^lag): the arcsine law."""
    rng = np.random.default_rng(8)
    lags = correlation ** np.arange(1, 200)
    wanted = 1 + 2 * (2 / np.pi * np.arcsin(lags)).sum()
    found = np.mean([correlation_time(latencies(4000, correlation, rng)) for _ in range(10)])
    assert found == pytest.approx(wanted, rel=0.15)


@pytest.mark.parametrize(("probability", "freedom", "wanted"), TABLE)
def test_student_quantile_is_that_of_the_table(probability, freedom, wanted):
    assert student_quantile(probability, freedom) == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize(
    ("first", "second", "paired", "what"),
    [
        ([1.0] * 7, [1.0] * 8, False, "wanted 8 or more, got 7"),
        ([1.0] * 8, [0.0] * 8, False, "above 0"),
        ([1.0] * 8, [float("nan")] * 8, False, "finite"),
        ([1.0] * 8, [1.0] * 9, True, "got 8 and 9"),
    ],
)
def test_ratio_refuses_what_has_none(first, second, paired, what):
    with pytest.raises(ValueError, match=what):
        ratio_interval(first, second, paired=paired)


def test_percentiles_are_numpys():
    values = np.arange(1, 102, dtype=float)
    assert latency_percentiles(values) == {"p50": 51, "p90": 91, "p95": 96, "p99": 100, "max": 101, "mean": 51}
    assert latency_percentiles([]) == {}
