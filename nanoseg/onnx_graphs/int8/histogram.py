"""Histogram of a tensor's magnitudes, accumulated over images."""

from __future__ import annotations

import math

import numpy as np

BINS = 4096
# Values of one tensor in one image: more add nothing, and counting them would take as long as the network.
SAMPLES = 1 << 18
# Below this, the inverse of a bin's width overflows float32.
SMALLEST_EXPONENT = -64


class Histogram:
    """Counts of |x| in bins whose width is a power of two; a larger value merges all bins in pairs.

    So the order of the images does not matter, and between 0 and the largest value lie 2048 bins or more.
    """

    def __init__(self) -> None:
        self.peak = 0.0  # the largest |x|, exact
        self.counts = np.zeros(BINS, np.int64)
        self._exponent: int | None = None  # all bins together are 2 ** this wide; None while all values were 0

    @property
    def width(self) -> float:
        """The width of one bin; 0 while all values were 0."""
        return 0.0 if self._exponent is None else math.ldexp(1, self._exponent) / BINS

    def add(self, values: np.ndarray) -> None:
        """Count the values of a tensor; of a large one evenly spaced samples, but its maximum is always exact.

        Raises:
            ValueError: a value is not finite.
        """
        highest, lowest = float(values.max(initial=0)), float(values.min(initial=0))
        if not (math.isfinite(highest) and math.isfinite(lowest)):
            raise ValueError("NaN or infinity")
        self.peak = max(self.peak, highest, -lowest)
        some = _sampled(values)
        if not self.peak:
            self.counts[0] += some.size  # which stays the first bin, however wide it becomes
            return
        self._reach(self.peak)
        bins = np.abs(some)
        bins *= np.float32(1 / self.width)
        self.counts += np.bincount(bins.astype(np.intp), minlength=BINS)

    def _reach(self, peak: float) -> None:
        exponent = max(math.frexp(peak)[1], SMALLEST_EXPONENT)
        if self._exponent is None:
            self._exponent = exponent
        while self._exponent < exponent:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self._exponent += 1


def _sampled(values: np.ndarray) -> np.ndarray:
    """Return about SAMPLES values; the step is coprime to a row's length, so that every column is sampled."""
    step = max(values.size // SAMPLES, 1)
    while values.ndim and math.gcd(step, values.shape[-1]) > 1:
        step += 1
    return values.reshape(-1)[::step]
