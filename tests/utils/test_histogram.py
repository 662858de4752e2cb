"""The histogram's percentiles are those of numpy within its stated error."""

import numpy as np
import pytest

from nanoseg.utils.histogram import Histogram


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_percentiles_are_within_one_percent(seed, spread):
    values = np.exp(np.random.default_rng(seed).normal(3, spread, 2000))
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    for percent in (1, 50, 90, 99, 99.9):
        exact = np.percentile(values, percent, method="inverted_cdf")
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0101)
    assert (histogram.count, histogram.maximum) == (2000, values.max())
    assert histogram.total == pytest.approx(values.sum())


def test_its_size_does_not_grow():
    histogram = Histogram()
    size = len(histogram._counts)
    for value in (-5.0, 0.0, 1e-9, 1.0, 1e12, float("inf"), float("nan")):
        histogram.add(value)
    assert len(histogram._counts) == size
    assert histogram.count == 6


def test_no_values_have_no_percentiles():
    assert Histogram().summary() == {}
    assert Histogram().percentile(99) == 0


def test_one_value_is_every_percentile():
    histogram = Histogram()
    histogram.add(40.0)
    summary = histogram.summary()
    assert summary["max"] == 40.0
    assert list(summary.values()) == pytest.approx([40.0] * 4, rel=0.0101)
