"""Bilinear upsampling of a mask's logits to the pixels of a region: the values, which are positive, or their edges.

Values are interpolated across first, then down. Down a column of pixels, between the centres of two cells, they rise or
fall all the way, rounding included. So two cells of one sign have no pixel of the other between them, and between two
of different signs the sign changes once: only those pixels are computed, as `upsample` does, and none is another's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Region(NamedTuple):
    """A rectangle of the frame in whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class PixelAxis(NamedTuple):
    """For each pixel along a side of the frame the cells before and after its centre, and the weight of the latter.

    Gap i is what lies between the centres of cells i - 1 and i; the first and the last gap, which have a cell on one
    side alone, have no pixels: there the outermost cell's value holds.
    """

    before: np.ndarray  # (pixels,) intp
    after: np.ndarray  # (pixels,) intp
    weight: np.ndarray  # (pixels,) float32 in [0, 1]
    first: np.ndarray  # (cells + 1,) intp: the first pixel of each gap
    stop: np.ndarray  # (cells + 1,) intp: the pixel after its last
    gap: np.ndarray  # (p, cells + 1) intp: its pixels, the last repeated up to the p of the largest gap
    gap_weight: np.ndarray  # (p, cells + 1) float32: their weights
    # Whether all weights are below 1, to which float32 may round them: of two positive cells the one after, if it is
    # 2^25 times smaller, is lost in rounding then, and the pixel is 0.
    below_one: bool


@lru_cache(maxsize=32)
def pixel_axis(pixels: int, scale: float, cells: int) -> PixelAxis:
    """Return the axis of a side of the frame; its arrays are shared and must not be changed.

    Args:
        pixels: The side.
        scale: Cells per pixel.
        cells: Cells that are used; beyond the centre of the outermost one its value holds.
    """
    at = np.clip((np.arange(pixels) + 0.5) * scale - 0.5, 0, cells - 1)
    before = at.astype(np.intp)
    weight = (at - before).astype(np.float32)
    stop = np.concatenate([[0], np.searchsorted(before, np.arange(1, cells)), [pixels]])
    first = np.concatenate([[0], stop[:-1]])
    first[1] = np.count_nonzero(at == 0)  # those before have the first cell's value
    first[-1] = pixels
    gap = np.minimum(first + np.arange(max((stop - first).max(), 1))[:, None], np.maximum(stop - 1, 0))
    return PixelAxis(
        before, np.minimum(before + 1, cells - 1), weight, first, stop, gap, weight[gap], bool((weight < 1).all())
    )


def upsample(logits: np.ndarray, rows: PixelAxis, columns: PixelAxis, region: Region) -> np.ndarray:
    """Interpolate a map bilinearly at the pixels of a region, with half-pixel centres.

    A pixel's value depends on its position in the frame alone, so that every region agrees with the whole to the bit.

    Args:
        logits: The map (rows, columns), float32.
        rows: The axis of the frame's height.
        columns: The axis of the frame's width.
        region: The pixels.

    Returns:
        (h, w) float32.
    """
    left, top, right, bottom = region
    if right <= left or bottom <= top:
        return np.zeros((max(bottom - top, 0), max(right - left, 0)), np.float32)
    # Across first: that is on few rows. Down is then whole rows at a time, which numpy copies fast.
    start, stop = rows.before[top], rows.after[bottom - 1] + 1
    used, before = logits[start:stop], columns.before[left:right]
    wide = used[:, before]
    wide += (used[:, columns.after[left:right]] - wide) * columns.weight[left:right]
    values = wide[rows.before[top:bottom] - start]
    values += (wide[rows.after[top:bottom] - start] - values) * rows.weight[top:bottom, None]
    return np.asarray(values)


def positive(logits: np.ndarray, rows: PixelAxis, columns: PixelAxis, region: Region) -> np.ndarray:
    """Return `upsample(...) > 0` of finite logits, (h, w) bool, in less time; see `upsample`."""
    left, top, right, bottom = region
    if right <= left or bottom <= top or not rows.below_one:
        return np.asarray(upsample(logits, rows, columns, region) > 0)
    wide, inside, change = _changes(logits, rows, columns, region)
    start, width = rows.before[top], right - left
    gaps = len(wide) // width
    # Each pixel is as the cell before it, but where the sign changes on the way to the cell after.
    cells = np.ascontiguousarray(inside[:-1].reshape(-1, gaps).T)
    pixels = cells.take(rows.before[top:bottom] + (1 - start), 0)
    used = slice(start, start + gaps)
    has_pixels = rows.first[used] < rows.stop[used]
    has_pixels[0] = has_pixels[-1] = False
    column = change // gaps
    gap = change - column * gaps
    chosen = has_pixels.take(gap).nonzero()[0]
    change, column, gap = change.take(chosen), column.take(chosen), gap.take(chosen)
    row = np.minimum(np.maximum(rows.gap[:, used], top), bottom - 1)
    at = ((row - top) * width).take(gap, 1)
    at += column
    pixels.ravel()[at] = _values(wide.take(change), wide.take(change + 1), rows.weight[row].take(gap, 1)) > 0
    return np.asarray(pixels)


def edges(
    logits: Iterable[np.ndarray], rows: PixelAxis, columns: PixelAxis, regions: Iterable[Region]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the runs of positive pixels of `upsample` start and end, column by column.

    Args:
        logits: m maps (rows, columns), float32 and finite.
        rows: The axis of the frame's height, with `below_one`.
        columns: The axis of the frame's width.
        regions: The pixels, of each map its own; each is asked for right before its map is read.

    Returns:
        The pixels of the frame before each start and each end, column by column, of all maps one after another (n,),
        and how many are of each map (m,). A run may have no pixels, or start where the one before ends.
    """
    none = np.zeros(0, np.intp)
    change, value, after = [none], [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    places, gaps = [], []
    for one, region in zip(logits, regions, strict=True):
        places.append(region)
        gaps.append(1)
        if region.right <= region.left or region.bottom <= region.top:
            change.append(none)
            continue
        wide, _, at = _changes(one, rows, columns, region)
        gaps[-1] = len(wide) // (region.right - region.left)
        change.append(at)
        value.append(wide.take(at))
        after.append(wide.take(at + 1, mode="clip"))  # behind the last there is no pixel
    sizes = np.array([len(each) for each in change[1:]], np.intp)
    left, top, _, bottom = np.array(places, np.intp).reshape(-1, 4).T
    column, gap = np.divmod(np.concatenate(change), np.repeat(gaps, sizes))
    column += np.repeat(left, sizes)
    gap += np.repeat(rows.before.take(top, mode="clip"), sizes)
    before = np.concatenate(value)
    values = _values(before, np.concatenate(after), rows.gap_weight.take(gap, 1))
    # As many pixels as still have the sign of the cell before; the last stands for those that a smaller gap lacks.
    row = rows.first.take(gap)
    row += ((values > 0) == (before > 0)).sum(0, dtype=np.uint16)
    np.minimum(row, rows.stop.take(gap), out=row)
    np.minimum(np.maximum(row, np.repeat(top, sizes), out=row), np.repeat(bottom, sizes), out=row)
    column *= len(rows.before)
    column += row
    return column, sizes


def _changes(
    logits: np.ndarray, rows: PixelAxis, columns: PixelAxis, region: Region
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolate the used rows of a map across, and find where the sign changes from one to the next.

    Returns:
        The values, column by column, each with a 0 before it: (w (r + 1),) float32; which are positive, with a False at
        the end; and the positions (n,) of those whose sign is not that of the next.
    """
    left, top, right, bottom = region
    before = columns.before[left:right]
    start = before[0]
    used = logits[rows.before[top] : rows.after[bottom - 1] + 1, start : columns.after[right - 1] + 1]
    # Upright, so that a column of pixels takes whole rows, and changes are in COCO's order.
    cells = np.zeros((used.shape[1], len(used) + 1), np.float32)
    cells[:, 1:] = (
        used.copy().T
    )  # side by side first: rows that lie a power of two apart push one another out of the cache
    steps = np.empty(cells.shape, np.float32)
    np.subtract(cells[1:], cells[:-1], out=steps[:-1])
    steps[-1] = 0
    before = before - start
    wide = cells.take(before, 0)
    step = steps.take(before, 0)
    step *= columns.weight[left:right, None]
    wide += step
    wide = wide.ravel()
    inside = np.empty(len(wide) + 1, np.bool_)
    np.greater(wide, 0, out=inside[:-1])
    inside[-1] = False
    return np.asarray(wide), inside, (inside[1:] != inside[:-1]).nonzero()[0]


def _values(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate between values (n,) at pixels with weights (p, n) of the latter."""
    values = weight * (after - before)
    values += before
    return np.asarray(values)
