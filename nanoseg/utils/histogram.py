"""A histogram of fixed size, for runs without end."""

from __future__ import annotations

import math
from collections.abc import Sequence

_FIRST = 1e-3  # upper bound of the first bucket
_STEP = math.log(1.02)  # from a bucket's upper bound to the next: a percentile is at most 1 % off
_BUCKETS = 1200  # up to 2e7: of milliseconds five hours


class Histogram:
    """Counts of values in buckets whose bounds grow by 2 %, in 10 kB however many values there are.

    Values below 0.001 count in the first bucket, those above 20 million in the last.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0

    def add(self, value: float) -> None:
        """Count one value; one that is not a number is left out."""
        if math.isnan(value):
            return
        index = 0
        if value > _FIRST:
            index = min(math.ceil(math.log(value / _FIRST) / _STEP), _BUCKETS - 1) if value < 1e300 else -1
        self._counts[index] += 1
        self.count += 1
        self.total += value
        self.maximum = max(self.maximum, value)

    def percentile(self, percent: float) -> float:
        """Return the value below which `percent` of the values lie, within 1 %; 0 where there is none."""
        rank, below = percent / 100 * self.count, 0
        for index, number in enumerate(self._counts):
            below += number
            if number and below >= rank:
                return min(_FIRST * math.exp((index - 0.5) * _STEP), self.maximum)
        return self.maximum

    def summary(self, percents: Sequence[int] = (50, 90, 99)) -> dict[str, float]:
        """Return `{"p50": ..., "p90": ..., "p99": ..., "max": ...}`; empty where there is no value."""
        if not self.count:
            return {}
        values = {f"p{percent}": round(self.percentile(percent), 3) for percent in percents}
        return {**values, "max": round(self.maximum, 3)}
