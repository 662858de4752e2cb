"""Bilinear interpolation as torch computes it on a CPU, to the bit, without torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# torch adds the four products one by one where height and width of the output are no more than this together.
_SMALL = 128


class Axis(NamedTuple):
    """For each pixel along an axis the cells before and after its centre, and their weights."""

    before: np.ndarray
    after: np.ndarray
    weight_before: np.ndarray  # float32
    weight_after: np.ndarray  # float32


def torch_axis(cells: int, pixels: int, start: int, stop: int) -> Axis:
    """Return the axis of `pixels` over `cells`, from pixel `start` to `stop`: torch's, in float32."""
    if cells == pixels:
        here = np.arange(start, stop)
        return Axis(here, here, np.ones(len(here), np.float32), np.zeros(len(here), np.float32))
    scale = np.full(stop - start, np.float32(cells) / np.float32(pixels))
    centre = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    at = np.maximum(_fused(scale, centre, np.float32(-0.5)), np.float32(0))
    before = np.minimum(at.astype(np.intp), cells - 1)
    weight = np.clip(at - before.astype(np.float32), 0, 1).astype(np.float32)
    return Axis(before, np.minimum(before + 1, cells - 1), np.float32(1) - weight, weight)


def torch_interpolate(values: np.ndarray, rows: Axis, columns: Axis, size_hw: tuple[int, int]) -> np.ndarray:
    """Return what `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` gives at some pixels.

    Args:
        values: (r, c) float32.
        rows: Axis of the rows.
        columns: Axis of the columns.
        size_hw: Size of the whole output, whose pixels the axes may be a part of.

    Returns:
        (h, w) float32. On processors whose torch does not fuse products and sums the last bit may differ.
    """
    left, right = values[:, columns.before], values[:, columns.after]
    if sum(size_hw) <= _SMALL:
        above, below = rows.weight_before[:, None], rows.weight_after[:, None]
        total = _fused(
            above * columns.weight_before,
            left[rows.before],
            above * columns.weight_after * right[rows.before],
        )
        total = _fused(below * columns.weight_before, left[rows.after], total)
        return _fused(below * columns.weight_after, right[rows.after], total)
    wide = _fused(columns.weight_before, left, columns.weight_after * right)
    return _fused(rows.weight_before[:, None], wide[rows.before], rows.weight_after[:, None] * wide[rows.after])


def _fused(factor: np.ndarray, value: np.ndarray, addend: np.ndarray | np.float32) -> np.ndarray:
    """Return factor * value + addend, float32, rounded once: the product of two float32 is exact in float64."""
    product = np.multiply(factor, value, dtype=np.float64)
    product += addend
    return np.asarray(product, np.float32)
