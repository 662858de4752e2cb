"""Where the parts lie on an endless belt: cell by cell, so that any stretch is known without those before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nanoseg.sources.simulator.shapes import KINDS
from nanoseg.sources.simulator.sprites import Look

_PER_CELL = 256  # more parts than this never share a cell, so a cell and a place in it make an identity
_WORLD, _CELL, _FRAME = 1, 2, 3
TOUCHING = 0.3  # the share of parts that are laid against or over a neighbour where there is one


def world_random(seed: int) -> np.random.Generator:
    """The random numbers that a seed's belt, lamp and camera come from."""
    return np.random.default_rng((seed, _WORLD, 0))


def frame_random(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one frame alone."""
    return np.random.default_rng((seed, _FRAME, index))


@dataclass(frozen=True)
class Part:
    """One part on the belt."""

    track_id: int
    look: Look
    along_px: int  # where its middle lies on the belt
    across_px: int
    radius_px: float
    rank: float  # who lies on top


@dataclass(frozen=True)
class Stretch:
    """What the layout has to know of the belt and its frame; all in pixels but `objects`."""

    length_px: int
    across_px: int
    rail_px: int
    low_px: float
    high_px: float
    objects: float


class Layout:
    """The parts of one seed."""

    def __init__(self, seed: int, stretch: Stretch) -> None:
        self._seed, self._stretch = seed, stretch
        self.reach_px = math.ceil(stretch.high_px * 1.2) + 16  # no part or shadow is seen from farther away
        self._cell_px = max(math.ceil(stretch.high_px), 8)
        # Coordinates start far enough upstream that the parts of frame 0 have numbers >= 0 too.
        self._origin_px = stretch.length_px + 2 * self.reach_px
        self._cell = lru_cache(maxsize=64)(self._fill)

    def near(self, way_px: int) -> list[tuple[Part, int]]:
        """Parts in or near the frame once the belt has run `way_px`, lowest first, each with its place along it."""
        head = way_px + self._origin_px
        low = max((head - self._stretch.length_px - self.reach_px) // self._cell_px, 0)
        high = (head + self.reach_px) // self._cell_px
        parts = [(part, head - part.along_px) for cell in range(low, high + 1) for part in self._cell(cell)]
        parts = [(part, at) for part, at in parts if -self.reach_px < at < self._stretch.length_px + self.reach_px]
        return sorted(parts, key=lambda item: (item[0].rank, item[0].track_id))

    def _fill(self, cell: int) -> tuple[Part, ...]:
        """Parts of one cell. Odd cells mind both even neighbours, so none needs a third."""
        stretch, rng = self._stretch, np.random.default_rng((self._seed, _CELL, cell))
        near = [*self._cell(cell - 1), *self._cell(cell + 1)] if cell % 2 else []
        # A part counts while its middle is in the frame, and for about half its length before and after.
        seen_px = stretch.length_px + 0.55 * (stretch.low_px + stretch.high_px) / 2
        mean = stretch.objects * self._cell_px / seen_px
        number = min(int(mean * (0.7 + 0.6 * rng.random()) + rng.random()), _PER_CELL)
        placed: list[Part] = []
        for place in range(number):
            draw = rng.random(6)
            kind = int(draw[0] * len(KINDS))
            size_px = stretch.low_px + (stretch.high_px - stretch.low_px) * float(draw[1])
            radius = size_px * sum(KINDS[kind].half_wh) / 2
            margin = min(stretch.rail_px + 0.5 * size_px, stretch.across_px / 2)
            spots = rng.random((24, 2)) * (self._cell_px, stretch.across_px - 2 * margin)
            spots += (cell * self._cell_px, margin)
            spot = _choose(spots, near + placed, radius, float(draw[2]), float(draw[3]))
            look = Look(kind, size_px, float(draw[4]) * 2 * math.pi, int(rng.integers(2**31)))
            middle = round(float(spot[0])), round(float(spot[1]))
            placed.append(Part(cell * _PER_CELL + place, look, *middle, radius, float(draw[5])))
        return tuple(placed)


def _choose(spots: np.ndarray, others: list[Part], radius: float, touch: float, depth: float) -> np.ndarray:
    """The spot (2,) of (n, 2) that best leaves a gap to the others, or best meets one of them."""
    if not others:
        return np.asarray(spots[0])
    middles = np.array([(other.along_px, other.across_px) for other in others])
    reach = np.array([other.radius_px for other in others]) + radius
    gap = (np.hypot(*(spots[:, None] - middles).transpose(2, 0, 1)) - reach).min(axis=1)
    if touch < TOUCHING:
        return np.asarray(spots[np.abs(gap + depth * 0.45 * radius).argmin()])
    return np.asarray(spots[np.minimum(gap, 0.12 * radius).argmax()])
