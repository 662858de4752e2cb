"""Choose the range of an INT8 tensor from its histogram."""

from __future__ import annotations

import numpy as np

from nanoseg.onnx_graphs.int8.histogram import Histogram

LEVELS = 128  # of INT8, without its sign


def percentile_range(histogram: Histogram, percentile: float) -> float:
    """Return this percentile of |x|; the maximum where nearly all values are 0."""
    counts = histogram.counts
    sums = counts.cumsum()
    wanted = percentile / 100 * float(sums[-1])
    at = int(np.searchsorted(sums, wanted))
    if at == 0:  # a tensor that is rarely active: its few values carry the information
        return histogram.peak
    share = (wanted - float(sums[at - 1])) / float(counts[at])
    return min((at + share) * histogram.width, histogram.peak)


def entropy_range(histogram: Histogram) -> float:
    """Return the range whose 128 levels have the least KL divergence, as TensorRT's entropy calibrator did.

    For each number of bins to keep, P is their counts, with the rest added to the last; Q has the mean of a level in
    each of its bins, empty ones stay empty. Source: S. Migacz, 8-bit Inference with TensorRT, GTC 2017.
    """
    counts = _filled_bins(histogram)
    if len(counts) <= LEVELS:
        return histogram.peak
    counts[0] = counts[1]  # zeros are exact in any range, and so many that they would dominate
    kept = np.arange(LEVELS, len(counts) + 1)
    sums, filled, logs = _running_sum(counts), _running_sum(counts > 0), _running_sum(_x_log_x(counts))
    total, inside, last = sums[-1], sums[kept], counts[kept - 1]
    beyond = total - inside
    edges = np.arange(LEVELS + 1) * kept[:, None] // LEVELS
    by_level = np.diff(sums[edges])
    mean = by_level / np.maximum(np.diff(filled[edges]), 1)
    log_mean = np.log(mean, out=np.zeros_like(mean), where=mean > 0)
    # Sums over bins of P log P and P log Q, both times the total, from running sums: no loop over ranges.
    p_log_p = logs[kept - 1] + _x_log_x(last + beyond) - total * np.log(total)
    p_log_q = (by_level * log_mean).sum(1) + beyond * log_mean[:, -1] - total * np.log(np.maximum(inside, 1))
    divergence = np.where((last > 0) | (beyond == 0), p_log_p - p_log_q, np.inf)
    return min(float(kept[divergence.argmin()]) * histogram.width, histogram.peak)


def _filled_bins(histogram: Histogram) -> np.ndarray:
    """Return the counts up to the last bin that is not empty, as float64."""
    counts = histogram.counts
    return counts[: int(np.flatnonzero(counts).max(initial=0)) + 1].astype(np.float64)


def _running_sum(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _x_log_x(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * np.log(values, out=np.zeros_like(values), where=values > 0))
