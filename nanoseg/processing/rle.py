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
    rows, columns = crop.shape
    # A row of zeros above and below makes every run start and end inside its column. Eight pixels are one number.
    padded = np.zeros((rows + 2, -(-columns // 8) * 8), np.bool_)
    padded[1:-1, :columns] = crop
    changed = (padded[1:] != padded[:-1]).ravel()
    eights = changed.view(np.uint64).nonzero()[0]
    place = changed.reshape(-1, 8).take(eights, 0).ravel().nonzero()[0]
    row, column = np.divmod(eights[place >> 3] * 8 + (place & 7), max(padded.shape[1], 1))
    edges = np.sort((left_px + column) * frame_hw[0] + (top_px + row))
    return encode_edges(edges, np.array([len(edges)]), frame_hw)[0]


def encode_edges(edges: np.ndarray, sizes: np.ndarray, frame_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Encode masks by where their runs start and end.

    Args:
        edges: Pixels of the frame before each start and end, column by column, in order; those of a mask after those of
            another (n,). An even number of them on one place, where runs meet or have no pixels, are none.
        sizes: How many are of each mask (m,); their sum is n.
        frame_hw: Height and width of the frame.
    """
    height, width = frame_hw
    start = np.arange(len(sizes)) * (height * width + 1)  # of each mask, as if all were one after another
    edges = edges + np.repeat(start, sizes)
    same = edges[1:] == edges[:-1]
    if same.any():
        first = np.concatenate([[True], ~same]).nonzero()[0]
        edges = edges[first[np.diff(first, append=len(edges)) % 2 == 1]]
        sizes = np.diff(np.searchsorted(edges, start), append=len(edges))
    last = np.cumsum(sizes + 2) - 1
    first = last - sizes - 1
    inner = np.ones(len(edges) + 2 * len(sizes), np.bool_)
    inner[first] = inner[last] = False
    places = np.empty(len(inner), np.int64)
    places[inner], places[first], places[last] = edges, start, start + height * width
    counts = places[1:] - places[:-1]
    last -= (counts[last - 1] == 0) & (sizes > 0)
    return [{"size": [height, width], "counts": text} for text in _texts(counts, first, last)]


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
    return _texts(np.asarray(counts, np.int64), np.array([0]), np.array([len(counts)]))[0]


def _texts(counts: np.ndarray, first: np.ndarray, stop: np.ndarray) -> list[str]:
    """Return the characters of several masks' run lengths, which lie at `first` (m,) to `stop` (m,) of `counts`."""
    values = counts.copy()
    values[2:] -= counts[:-2]
    whole = np.minimum(first[:, None] + np.arange(3), stop[:, None] - 1)
    values[whole] = counts[whole]
    characters = _characters(values)
    return [
        characters[a:b].tobytes().translate(None, b"\0").decode("ascii")
        for a, b in zip(first.tolist(), stop.tolist(), strict=True)
    ]


def _characters(values: np.ndarray) -> np.ndarray:
    """Return the characters of numbers (n,), at most seven each, as the bytes of (n,) uint64; the others are 0."""
    characters = _THREE.take(values + _LIMIT, mode="clip")
    more = ((values < -_LIMIT) | (values >= _LIMIT)).nonzero()[0]
    if len(more):
        values = values.take(more)
        first = (values & 31) + ((values & 31 << 5) << 3) + ((values & 31 << 10) << 6) + 0x505050
        characters[more] = first.astype(np.uint64) | _characters(values >> 15) << np.uint64(24)
    return characters


def _three_characters() -> np.ndarray:
    """Return the characters of the numbers that need three at most, from -_LIMIT on."""
    values = np.arange(-_LIMIT, _LIMIT)
    second, third = ((values < -limit) | (values >= limit) for limit in (1 << 4, 1 << 9))
    characters = (values & 31) + 48 + 32 * second
    characters += second * ((values >> 5 & 31) + 48 + 32 * third) << 8
    characters += third * ((values >> 10 & 31) + 48) << 16
    return characters.astype("<u8")


_LIMIT = 1 << 14
_THREE = _three_characters()


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
