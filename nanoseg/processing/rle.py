"""COCO's compressed run-length encoding of masks, as pycocotools writes it.

A mask is read column by column; `counts` are the lengths of its runs, zeros first. In the text every count from the
fourth on is its difference to the one two before, and every number is groups of five bits, lowest first, each group
one character from '0', with 32 added where more follow. Source: cocoapi, common/maskApi.c, rleToString.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoseg.errors import UsageError


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Encode a (H, W) mask, nonzero being inside, as `{"size": [H, W], "counts": text}`."""
    height, width = mask.shape
    return encode_crop(mask, 0, 0, (height, width))


def encode_crop(crop: np.ndarray, left_px: int, top_px: int, frame_hw: tuple[int, int]) -> dict[str, Any]:
    """Encode a (h, w) mask at (left, top) of a frame of zeros, without computing that frame."""
    height, width = frame_hw
    rows, columns = crop.shape
    # A row of zeros above and below makes every run start and end inside its column.
    upright = np.zeros((columns, rows + 2), np.int8)
    upright[:, 1:-1] = crop.T != 0
    steps = np.diff(upright, axis=1).ravel()
    edges = np.flatnonzero(steps)  # start, end, start, end, ... in a frame of rows + 1
    column, row = np.divmod(edges, rows + 1)
    at = (left_px + column) * height + top_px + row
    if rows == height:
        # A run that reaches the bottom goes on at the top of the next column: both edges fall on one place.
        joined = np.flatnonzero(at[1:-1:2] == at[2::2]) * 2 + 1
        at = np.delete(at, np.concatenate([joined, joined + 1]))
    counts = np.diff(at, prepend=0, append=height * width)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [height, width], "counts": to_text(counts)}


def decode(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode `{"size": [H, W], "counts": text}` to (H, W) bool; raises UsageError for a damaged one."""
    height, width = rle["size"]
    counts = from_text(rle["counts"])
    if (counts < 0).any() or counts.sum() != height * width:
        raise UsageError(f"mask: run lengths make {counts.sum()} pixels, not {height} x {width}; the record is damaged")
    inside = np.arange(len(counts)) % 2 == 1
    return np.asarray(np.repeat(inside, counts).reshape(width, height).T)


def to_text(counts: np.ndarray) -> str:
    """Return the characters of run lengths (n,)."""
    values = np.asarray(counts, np.int64).copy()
    values[3:] -= counts[1:-2]
    # Groups needed: the smallest n with -2^(5n-1) <= value < 2^(5n-1).
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


def from_text(text: str | bytes) -> np.ndarray:
    """Return run lengths (n,) int64 from their characters; raises UsageError for impossible ones."""
    raw = text.encode() if isinstance(text, str) else text
    characters = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if not len(characters) or (characters < 0).any() or (characters > 63).any() or characters[-1] & 32:
        raise UsageError("mask: counts are not COCO's compressed run lengths; the record is damaged")
    last = np.flatnonzero(characters < 32)
    groups = np.diff(last, prepend=-1)
    if groups.max() > 7:
        raise UsageError("mask: a run length has more than seven characters; the record is damaged")
    first = last - groups + 1
    position = np.arange(len(characters)) - np.repeat(first, groups)
    values = np.add.reduceat((characters & 31) << (5 * position), first)
    values -= np.where(characters[last] & 16, np.int64(1) << (5 * groups), 0)
    for parity in (1, 2):  # undo the difference to the count two before, which the first three do not have
        values[parity::2] = np.cumsum(values[parity::2])
    return values
