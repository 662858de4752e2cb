"""Polygons of a mask along the borders of its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Of the four pixels around a corner of the grid: above left, above right, below left, below right.
_WEIGHTS = (1, 2, 4, 8)
_NO_CORNER = (0, 15, 3, 12, 5, 10)  # none, all, or an edge that goes straight on
_FALLING, _RISING = 9, 6  # two pixels that touch at this corner alone
_MAX_CUTS = 1000  # corners of an outline where cuts and seams may start: noise has ten thousands, and as many holes


def mask_polygons(mask: np.ndarray, left_px: int = 0, top_px: int = 0, tolerance_px: float = 0.0) -> list[np.ndarray]:
    """Return the outlines of a mask as COCO's polygons: their even-odd filling is the mask again.

    The corners are those of the pixels, so that a polygon's area is the number of its pixels: pixel (0, 0) is the
    square from (0, 0) to (1, 1). Pixels that touch at a corner are in one polygon. COCO's polygons have no holes, so
    a hole becomes part of the polygon around it: a cut without width leads to it and back.

    Args:
        mask: (h, w) bool, a part of the frame.
        left_px: Column of the frame at which that part begins.
        top_px: Row of the frame at which that part begins.
        tolerance_px: Leave out corners, so that no outline moves by more than this (Douglas and Peucker).

    Returns:
        Arrays (P, 2) int32 of x, y in pixels of the frame, P >= 4, or 3 with a tolerance; none for an empty mask.
    """
    import cv2

    if not mask.any():
        return []
    _, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    outer: dict[int, np.ndarray] = {}
    holes: dict[int, list[np.ndarray]] = {}
    for ring in _rings(mask):
        x, y = ring[0]  # its top left corner
        simple = _simplify(ring, tolerance_px)
        if y < len(mask) and x < mask.shape[1] and mask[y, x]:
            outer[int(components[y, x])] = simple
        else:
            holes.setdefault(int(components[y - 1, x]), []).append(simple[::-1])
    offset = np.array([left_px, top_px], np.int32)
    return [_join(ring, holes.get(number, [])) + offset for number, ring in outer.items()]


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Return all outlines (P, 2) int32, each from its top left corner to the right, in the order of those corners."""
    height, width = mask.shape
    around = np.zeros((height + 2, width + 2), np.uint8)
    around[1:-1, 1:-1] = mask
    parts = (around[:-1, :-1], around[:-1, 1:], around[1:, :-1], around[1:, 1:])
    code = sum((weight * part for weight, part in zip(_WEIGHTS, parts, strict=True)), np.zeros_like(parts[0]))
    times = np.ones(16, np.intp)
    times[list(_NO_CORNER)], times[[_FALLING, _RISING]] = 0, 2
    y, x = np.nonzero(times[code])
    kinds = code[y, x]
    y, x, kinds = (np.repeat(each, times[kinds]) for each in (y, x, kinds))
    # In each row the first corner is joined with the second, the third with the fourth; in each column likewise. Of a
    # corner that is there twice, the first belongs to the edge on its left. Around a background pixel, left goes with
    # down where the pixels that touch are falling to the right, else with up.
    second = np.zeros(len(x), bool)
    second[1:] = (x[1:] == x[:-1]) & (y[1:] == y[:-1])
    by_column = np.lexsort((second ^ (kinds == _FALLING), y, x))
    vertical = np.empty(len(x), np.intp)
    vertical[by_column[0::2]], vertical[by_column[1::2]] = by_column[1::2], by_column[0::2]
    partners, done = vertical.tolist(), [False] * len(x)
    rings = []
    for start in range(0, len(x), 2):
        if done[start]:
            continue
        at, ring = start, []
        while True:
            ring += [at, at ^ 1]
            done[at] = done[at ^ 1] = True
            at = partners[at ^ 1]
            if at == start:
                break
        rings.append(np.stack([x[ring], y[ring]], 1).astype(np.int32))
    return rings


def _simplify(ring: np.ndarray, tolerance_px: float) -> np.ndarray:
    """Return the ring with fewer corners; itself where less than a triangle would be left."""
    if tolerance_px <= 0:
        return ring
    import cv2

    simple: np.ndarray = cv2.approxPolyDP(ring[:, None], tolerance_px, closed=True)[:, 0]
    return simple if len(simple) > 2 and cv2.contourArea(simple) > 0 else ring


def _join(ring: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Return one ring that goes round its holes, too, each by way of a corner near to the hole's first."""
    if not holes:
        return ring
    step = -(-len(ring) // _MAX_CUTS)
    nearest = [int(((ring[::step] - hole[0]) ** 2).sum(1).argmin()) * step for hole in holes]
    parts, last = [], 0
    for number in np.argsort(nearest, kind="stable"):
        corner, hole = nearest[number], holes[number]
        parts += [ring[last : corner + 1], hole, hole[:1], ring[corner : corner + 1]]
        last = corner + 1
    return np.concatenate([*parts, ring[last:]])


def join_polygons(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Return polygons as one, (P, 2), joined by seams without width between near corners; (0, 2) of none."""
    if not polygons:
        return np.zeros((0, 2), np.int32)
    joined, *others = sorted(polygons, key=len, reverse=True)
    for other in others:
        here_step, there_step = (-(-len(ring) // _MAX_CUTS) for ring in (joined, other))
        distances = ((joined[::here_step, None].astype(np.float64) - other[None, ::there_step]) ** 2).sum(2)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        here, there = here * here_step, there * there_step
        around = np.concatenate([other[there:], other[: there + 1]])
        joined = np.concatenate([joined[: here + 1], around, joined[here:]])
    return joined
