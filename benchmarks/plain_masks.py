"""Masks as nanoseg computed them at first, every pixel of a region: the reference for how it does now."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoseg.processing.geometry import Geometry
from nanoseg.processing.upsampling import Region


def crop(logits: np.ndarray, geometry: Geometry, region: Region) -> np.ndarray:
    """Return a mask in its region, (h, w) bool, of logits (4g, 4g)."""
    (sx, sy), (rows, columns) = geometry.cells(len(logits))
    left, right, across = _neighbours(region.left, region.right, sx, columns)
    above, below, down = _neighbours(region.top, region.bottom, sy, rows)
    if not len(across) or not len(down):
        return np.zeros((len(down), len(across)), np.bool_)
    first, last = above[0], below[-1] + 1
    used = logits[first:last]
    wide = used[:, left]
    wide += (used[:, right] - wide) * across
    values = wide[above - first]
    values += (wide[below - first] - values) * down[:, None]
    return np.asarray(values > 0)


def encode(mask: np.ndarray, left_px: int, top_px: int, frame_hw: tuple[int, int]) -> dict[str, Any]:
    """Encode a (h, w) mask at (left, top) of a frame of zeros."""
    height, width = frame_hw
    rows, columns = mask.shape
    upright = np.zeros((columns, rows + 2), np.int8)
    upright[:, 1:-1] = mask.T != 0
    edges = np.flatnonzero(np.diff(upright, axis=1).ravel())
    column, row = np.divmod(edges, rows + 1)
    at = (left_px + column) * height + top_px + row
    if rows == height:
        joined = np.flatnonzero(at[1:-1:2] == at[2::2]) * 2 + 1
        at = np.delete(at, np.concatenate([joined, joined + 1]))
    counts = np.diff(at, prepend=0, append=height * width)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [height, width], "counts": _text(counts)}


def _neighbours(start: int, stop: int, scale: float, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = np.clip((np.arange(start, stop) + 0.5) * scale - 0.5, 0, cells - 1)
    before = at.astype(np.intp)
    return before, np.minimum(before + 1, cells - 1), (at - before).astype(np.float32)


def _text(counts: np.ndarray) -> str:
    values = counts.copy()
    values[3:] -= counts[1:-2]
    magnitude = np.where(values < 0, ~values, values)
    groups = np.ones(len(values), np.intp)
    for n in range(1, 7):
        groups += magnitude >= 1 << (5 * n - 1)
    end = np.cumsum(groups)
    which = np.repeat(np.arange(len(values)), groups)
    group = np.arange(end[-1]) - (end - groups)[which]
    characters = (values[which] >> (5 * group)) & 31
    characters[group < groups[which] - 1] += 32
    return str((characters + 48).astype(np.uint8).tobytes(), "ascii")
