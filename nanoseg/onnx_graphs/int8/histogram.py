"""How large a tensor's values are: counts that grow with the pictures seen."""

from __future__ import annotations

import math

import numpy as np

BINS = 4096
# Of one tensor, a picture: more say nothing new about it, and counting them would take as long as the network.
SAMPLES = 1 << 18
# Below this, the inverse of a bin's width leaves float32.
SMALLEST_EXPONENT = -64


class Histogram:
    """Counts of |x| in bins as wide as a power of two, all merged by two when a larger value comes.

    So the order of the pictures does not matter, and between 0 and the largest value lie 2048 bins or more.
    """

    def __init__(self) -> None:
        self.peak = 0.0  # the largest |x|, exact
        self.counts = np.zeros(BINS, np.int64)
        self._exponent: int | None = None  # all bins together are 2 ** this wide; None while all was 0

    @property
    def width(self) -> float:
        """Of one bin; 0 while all was 0."""
        return 0.0 if self._exponent is None else math.ldexp(1, self._exponent) / BINS

    def add(self, values: np.ndarray) -> None:
        """Count the values of one tensor, evenly spread ones of a large one; the largest of all is always seen.

        Raises ValueError where a value is not finite.
        """
        highest, lowest = float(values.max(initial=0)), float(values.min(initial=0))
        if not (math.isfinite(highest) and math.isfinite(lowest)):
            raise ValueError("NaN or infinity")
        self.peak = max(self.peak, highest, -lowest)
        some = _thinned(values)
        if not self.peak:
            self.counts[0] += some.size  # which stays the first bin, however wide it becomes
            return
        self._reach(self.peak)
        places = np.abs(some)
        places *= np.float32(1 / self.width)
        self.counts += np.bincount(places.astype(np.intp), minlength=BINS)

    def _reach(self, peak: float) -> None:
        exponent = max(math.frexp(peak)[1], SMALLEST_EXPONENT)
        if self._exponent is None:
            self._exponent = exponent
        while self._exponent < exponent:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self._exponent += 1


def _thinned(values: np.ndarray) -> np.ndarray:
    """About SAMPLES of them; no step shares a divisor with a row's length, or some columns would never be seen."""
    step = max(values.size // SAMPLES, 1)
    while values.ndim and math.gcd(step, values.shape[-1]) > 1:
        step += 1
    return values.reshape(-1)[::step]
