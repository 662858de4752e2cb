"""Ten classes of machine parts as reliefs: signed distances of their outlines and heights above the belt.

Lengths are in units of the part's longest side, the origin is its centre. Signed distances are negative inside;
where a formula gives only a bound of the distance (the hexagon's corners, the gear's flanks) it is exact on the
outline itself, which is all that the anti-aliasing needs. Primitives follow the usual analytic ones of 2-D
distance fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Uniform = Callable[[float, float], float]  # (low, high) -> a random number in between
Shape = Callable[["Relief", Uniform], None]

MAIN, ACCENT, DARK = 0, 1, 2  # which of the part's materials a surface is made of
PLAIN, BRUSHED, TURNED = 0, 1, 2  # finish of the surface


class Relief:
    """The surface of one part on a grid of points (x, y), built up solid by solid."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y
        self.r = np.sqrt(x * x + y * y)
        self.distance = np.full_like(x, 1.0)
        self.height = np.zeros_like(x)
        self.slot = np.zeros(x.shape, np.uint8)
        self.finish = PLAIN

    def raise_to(self, distance: Array, height: Array, slot: int = MAIN) -> None:
        """Add a solid of given outline and height; the higher surface stays visible."""
        height = np.where(distance < 0, height, 0)
        self.slot[height > self.height] = slot
        np.maximum(self.height, height, out=self.height)
        np.minimum(self.distance, distance, out=self.distance)

    def plate(self, distance: Array, top: float, bevel: float, slot: int = MAIN) -> None:
        """Add a flat solid whose rim is rounded over `bevel`."""
        t = np.clip(distance * (-1 / bevel), 0, 1)
        self.raise_to(distance, top * t * (2 - t), slot)

    def hole(self, distance: Array, bevel: float = 0.03) -> None:
        """Cut a through hole with a rounded edge; the belt is visible in it."""
        t = np.clip(distance * (1 / bevel), 0, 1)
        self.height *= t * (2 - t)
        np.maximum(self.distance, -distance, out=self.distance)

    def recess(self, distance: Array, depth: float, bevel: float = 0.03) -> None:
        """Cut a pocket that does not go through."""
        self.height -= depth * np.clip(distance * (-1 / bevel), 0, 1)


def circle(x: Array, y: Array, radius: float) -> Array:
    """Return the signed distance of a circle around the origin."""
    return np.asarray(np.sqrt(x * x + y * y) - radius)


def box(x: Array, y: Array, half_w: float, half_h: float, corner: float) -> Array:
    """Return the signed distance of a rectangle with rounded corners around the origin."""
    qx, qy = np.abs(x) - (half_w - corner), np.abs(y) - (half_h - corner)
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(qx, qy), 0) - corner)


def hexagon(x: Array, y: Array, apothem: float) -> Array:
    """Return a bound of the signed distance of a hexagon around the origin."""
    return np.asarray(np.maximum(np.abs(x) * 0.8660254 + np.abs(y) * 0.5, np.abs(y)) - apothem)


def cylinder(across: Array, radius: float) -> Array:
    """Return the height of a lying cylinder above the belt, flattened to a low relief."""
    return np.asarray(0.9 * np.sqrt(np.maximum(radius * radius - across * across, 1e-6)))


def hex_bolt(relief: Relief, uniform: Uniform) -> None:
    """Add a hex bolt to the relief."""
    x, y = relief.x, relief.y
    head, half, shank = uniform(0.2, 0.27), uniform(0.2, 0.26), uniform(0.095, 0.12)
    end = np.clip((0.5 - x) * 12, 0.35, 1)
    thread = np.where(x > head - 0.3, 0.014 * np.abs(((x - 0.3 * y) * 17) % 1 - 0.5) * 2, 0.012)
    body = box(x - head / 2, y, 0.5 - head / 2, shank, 0.03)
    relief.raise_to(body, (cylinder(y, shank) + thread) * end)
    facet = np.clip((half - np.abs(y)) / (half * 0.5), 0, 1)
    rim = np.clip((x + 0.5) * 18, 0.5, 1)
    relief.raise_to(box(x + 0.5 - head / 2, y, head / 2, half, 0.02), (0.06 + 0.13 * facet) * rim)


def hex_nut(relief: Relief, uniform: Uniform) -> None:
    """Add a hex nut to the relief."""
    bore = uniform(0.19, 0.25)
    relief.plate(hexagon(relief.x, relief.y, 0.433), 0.16, 0.03)
    relief.height -= np.clip(relief.r - 0.415, 0, 1) * 0.9 * (relief.height > 0)
    relief.hole(relief.r - bore, 0.06)
    relief.finish = TURNED


def washer(relief: Relief, uniform: Uniform) -> None:
    """Add a washer to the relief."""
    relief.plate(relief.r - 0.5, 0.05, 0.025)
    relief.hole(relief.r - uniform(0.22, 0.31), 0.025)
    relief.finish = TURNED


def gear(relief: Relief, uniform: Uniform) -> None:
    """Add a gear to the relief."""
    teeth, root = int(uniform(9, 14)), uniform(0.38, 0.41)
    angle = np.arctan2(relief.y, relief.x)
    wave = np.clip(np.cos(angle * teeth) * 1.7 + 0.1, -1, 1)
    rim = relief.r - ((0.5 + root) / 2 + wave * (0.5 - root) / 2)
    relief.plate(rim * 0.75, 0.13, 0.025)
    relief.recess(np.abs(relief.r - 0.27) - uniform(0.05, 0.07), uniform(0.03, 0.07))
    relief.plate(relief.r - 0.2, 0.15, 0.03)
    relief.hole(relief.r - uniform(0.1, 0.13), 0.03)
    relief.finish = TURNED


def bearing(relief: Relief, uniform: Uniform) -> None:
    """Add a bearing to the relief."""
    x, y, r = relief.x, relief.y, relief.r
    bore, outer = uniform(0.17, 0.21), uniform(0.4, 0.42)
    inner = bore + 0.08
    relief.plate(r - 0.5, 0.03, 0.02, DARK)
    relief.plate(np.maximum(r - 0.5, outer - r), 0.14, 0.035)
    relief.plate(np.maximum(r - inner, bore - r), 0.14, 0.03)
    middle, balls = (inner + outer) / 2, int(uniform(8, 10.99))
    angle = np.arctan2(y, x)
    around = (angle * (balls / (2 * np.pi))) % 1 - 0.5
    ball = (outer - inner) / 2 * 1.02
    off = np.sqrt((r - middle) ** 2 + (around * (2 * np.pi / balls) * middle) ** 2)
    relief.raise_to(off - ball, 0.03 + 1.1 * np.sqrt(np.maximum(ball * ball - off * off, 0)), ACCENT)
    relief.hole(r - bore, 0.02)
    relief.finish = TURNED


def l_bracket(relief: Relief, uniform: Uniform) -> None:
    """Add an L-bracket to the relief."""
    x, y = relief.x, relief.y
    width, foot, hole = uniform(0.34, 0.4), uniform(0.78, 1.0), uniform(0.075, 0.095)
    upright = box(x + foot / 2 - width / 2, y, width / 2, 0.5, 0.05)
    lying = box(x, y - 0.5 + width / 2, foot / 2, width / 2, 0.05)
    relief.plate(np.minimum(upright, lying), 0.07, 0.03)
    # The bent-up edge along the outer side.
    relief.plate(box(x + foot / 2 - 0.04, y, 0.04, 0.5, 0.03), 0.13, 0.04)
    relief.hole(circle(x + foot / 2 - width * 0.58, y + 0.5 - width * 0.55, hole))
    relief.hole(circle(x - foot / 2 + width * 0.55, y - 0.5 + width / 2, hole))
    relief.finish = BRUSHED


def wing_nut(relief: Relief, uniform: Uniform) -> None:
    """Add a wing nut to the relief."""
    x, y = np.abs(relief.x), relief.y
    lobe, lift = uniform(0.13, 0.16), uniform(0.05, 0.13)
    yy = y + lift * np.clip((x - 0.12) * 4, 0, 1)
    t = np.clip((x - 0.1) / (0.4 - lobe), 0, 1)
    across = 0.09 + (lobe - 0.09) * t * t * (3 - 2 * t)
    wing = np.sqrt((x - np.clip(x, 0.1, 0.5 - lobe)) ** 2 + yy * yy) - across
    dome = np.clip(-wing / 0.09, 0, 1)
    relief.raise_to(wing * 0.9, 0.13 * dome * (2 - dome))
    relief.recess(circle(x - (0.5 - lobe), yy, lobe * 0.6), 0.03, 0.05)
    relief.plate(relief.r - 0.21, 0.19, 0.05)
    relief.hole(relief.r - uniform(0.095, 0.115), 0.03)


def flange(relief: Relief, uniform: Uniform) -> None:
    """Add a flange to the relief."""
    x, y = np.abs(relief.x), np.abs(relief.y)
    hole, bore, corner = uniform(0.07, 0.085), uniform(0.13, 0.18), uniform(0.1, 0.2)
    relief.plate(box(x, y, 0.5, 0.5, corner), 0.07, 0.03)
    relief.plate(relief.r - (bore + uniform(0.08, 0.12)), 0.15, 0.04)
    relief.hole(circle(x - 0.36, y - 0.36, hole), 0.025)
    relief.hole(relief.r - bore, 0.03)
    relief.finish = TURNED


def spring(relief: Relief, uniform: Uniform) -> None:
    """Add a spring to the relief."""
    x, y = relief.x, relief.y
    coils, half = int(uniform(6, 8.99)), uniform(0.19, 0.24)
    pitch = 1 / (coils + 0.35)
    slant = x + (y / half) * pitch * 0.17
    phase = np.clip(np.round(slant / pitch - (coils - 1) % 2 / 2), -(coils // 2), (coils - 1) // 2)
    along = slant - (phase + (coils - 1) % 2 / 2) * pitch
    wire = pitch * 0.56
    beyond = np.maximum(np.abs(y) - (half - wire), 0)
    off = np.sqrt(along * along + beyond * beyond)
    bulge = 0.5 * cylinder(y, half)
    relief.raise_to(off - wire, bulge + 1.3 * np.sqrt(np.maximum(wire * wire - off * off, 1e-6)))


def pipe_tee(relief: Relief, uniform: Uniform) -> None:
    """Add a pipe tee to the relief."""
    x, y = relief.x, relief.y + 0.16
    pipe, collar, branch = uniform(0.125, 0.15), uniform(0.17, 0.19), uniform(0.5, 0.56)
    relief.raise_to(box(x, y, 0.48, pipe, 0.02), cylinder(y, pipe))
    relief.raise_to(box(x, y - branch / 2, pipe, branch / 2, 0.02), cylinder(x, pipe))
    relief.raise_to(box(np.abs(x) - 0.42, y, 0.08, collar, 0.03), cylinder(y, collar) + 0.01, ACCENT)
    relief.raise_to(box(x, y - branch + 0.08, collar, 0.08, 0.03), cylinder(x, collar) + 0.01, ACCENT)


@dataclass(frozen=True)
class PartType:
    """A class of parts: its label, shape, half extents (width, height) and materials."""

    label: str
    shape: Shape
    half_wh: tuple[float, float]
    materials: tuple[str, ...]
    accents: tuple[str, ...] = ()


PART_TYPES = (
    PartType("hex bolt", hex_bolt, (0.5, 0.26), ("steel", "zinc", "black oxide", "brass")),
    PartType("hex nut", hex_nut, (0.5, 0.44), ("steel", "zinc", "black oxide", "brass", "nylon")),
    PartType("washer", washer, (0.5, 0.5), ("steel", "zinc", "brass", "copper", "black oxide")),
    PartType("gear", gear, (0.5, 0.5), ("steel", "brass", "black oxide", "nylon", "orange", "iron")),
    PartType("bearing", bearing, (0.5, 0.5), ("steel", "chrome"), ("chrome",)),
    PartType("L-bracket", l_bracket, (0.5, 0.5), ("steel", "zinc", "blue", "orange", "black oxide")),
    PartType("wing nut", wing_nut, (0.5, 0.3), ("brass", "zinc", "steel", "orange", "nylon")),
    PartType("flange", flange, (0.5, 0.5), ("steel", "iron", "blue", "brass", "zinc")),
    PartType("spring", spring, (0.5, 0.24), ("steel", "chrome", "zinc", "black oxide", "copper")),
    PartType(
        "pipe tee", pipe_tee, (0.5, 0.42), ("brass", "copper", "iron", "nylon", "red"), ("brass", "steel", "chrome")
    ),
)
