"""Positions of the parts on an endless belt, drawn cell by cell, so that no frame depends on earlier ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nanoseg.sources.simulator.shapes import PART_TYPES
from nanoseg.sources.simulator.sprites import PartSpec

_MAX_PER_CELL = 256  # so that a cell and an index in it make a track id
_WORLD, _CELL, _FRAME = 1, 2, 3  # streams of random numbers of one seed
TOUCHING_SHARE = 0.3  # of the parts that have a neighbour: laid against or over it


def world_random(seed: int) -> np.random.Generator:
    """Return the generator of a seed's belt, lamp and camera."""
    return np.random.default_rng((seed, _WORLD, 0))


def frame_random(seed: int, index: int) -> np.random.Generator:
    """Return the generator of one frame."""
    return np.random.default_rng((seed, _FRAME, index))


@dataclass(frozen=True)
class Part:
    """One part on the belt."""

    track_id: int
    spec: PartSpec
    along_px: int  # position of its centre on the belt
    across_px: int
    radius_px: float
    rank: float  # the higher of two overlapping parts lies on top


@dataclass(frozen=True)
class BeltGeometry:
    """Dimensions of the belt as the camera sees it, in pixels, and how many parts lie on it."""

    length_px: int  # along the belt
    width_px: int  # across the belt
    rail_px: int  # width of the conveyor's side rails
    min_part_px: float  # longest side of the smallest part
    max_part_px: float
    objects: float  # mean number of parts in a frame


class Layout:
    """The parts of one seed, on a belt without end."""

    def __init__(self, seed: int, geometry: BeltGeometry) -> None:
        self._seed, self._geometry = seed, geometry
        self.reach_px = math.ceil(geometry.max_part_px * 1.2) + 16  # no part or shadow is visible from farther away
        self._cell_px = max(math.ceil(geometry.max_part_px), 8)
        # Coordinates start far enough upstream for the parts of frame 0 to have cells >= 0.
        self._origin_px = geometry.length_px + 2 * self.reach_px
        self._cell = lru_cache(maxsize=64)(self._fill)

    def parts_near(self, travel_px: int) -> list[tuple[Part, int]]:
        """Return the parts in or near the frame after the belt has moved, lowest first.

        Each comes with its position along the belt in pixels of the frame.
        """
        head = travel_px + self._origin_px
        low = max((head - self._geometry.length_px - self.reach_px) // self._cell_px, 0)
        high = (head + self.reach_px) // self._cell_px
        parts = [(part, head - part.along_px) for cell in range(low, high + 1) for part in self._cell(cell)]
        parts = [(part, at) for part, at in parts if -self.reach_px < at < self._geometry.length_px + self.reach_px]
        return sorted(parts, key=lambda item: (item[0].rank, item[0].track_id))

    def _fill(self, cell: int) -> tuple[Part, ...]:
        """Place the parts of one cell. Odd cells avoid those of both even neighbours, so no cell depends on a third."""
        geometry, rng = self._geometry, np.random.default_rng((self._seed, _CELL, cell))
        neighbours = [*self._cell(cell - 1), *self._cell(cell + 1)] if cell % 2 else []
        # A part is counted while its centre is in the frame, and for about half its length before and after.
        visible_px = geometry.length_px + 0.55 * (geometry.min_part_px + geometry.max_part_px) / 2
        mean = geometry.objects * self._cell_px / visible_px
        count = min(int(mean * (0.7 + 0.6 * rng.random()) + rng.random()), _MAX_PER_CELL)
        placed: list[Part] = []
        for index in range(count):
            draw = rng.random(6)
            class_id = int(draw[0] * len(PART_TYPES))
            size_px = geometry.min_part_px + (geometry.max_part_px - geometry.min_part_px) * float(draw[1])
            radius = size_px * sum(PART_TYPES[class_id].half_wh) / 2
            margin = min(geometry.rail_px + 0.5 * size_px, geometry.width_px / 2)
            positions = rng.random((24, 2)) * (self._cell_px, geometry.width_px - 2 * margin)
            positions += (cell * self._cell_px, margin)
            position = _choose_position(positions, neighbours + placed, radius, float(draw[2]), float(draw[3]))
            spec = PartSpec(class_id, size_px, float(draw[4]) * 2 * math.pi, int(rng.integers(2**31)))
            centre = round(float(position[0])), round(float(position[1]))
            placed.append(Part(cell * _MAX_PER_CELL + index, spec, *centre, radius, float(draw[5])))
        return tuple(placed)


def _choose_position(
    positions: np.ndarray, others: list[Part], radius: float, touch: float, depth: float
) -> np.ndarray:
    """Return that of (n, 2) positions which best leaves a gap to the other parts, or best touches one of them."""
    if not others:
        return np.asarray(positions[0])
    centres = np.array([(other.along_px, other.across_px) for other in others])
    reach = np.array([other.radius_px for other in others]) + radius
    gap = (np.hypot(*(positions[:, None] - centres).transpose(2, 0, 1)) - reach).min(axis=1)
    if touch < TOUCHING_SHARE:
        return np.asarray(positions[np.abs(gap + depth * 0.45 * radius).argmin()])
    return np.asarray(positions[np.minimum(gap, 0.12 * radius).argmax()])
