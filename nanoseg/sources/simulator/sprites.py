"""Rendering a part's relief to a sprite: shaded, with its shadow, blended with two saturating operations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nanoseg.errors import needs
from nanoseg.sources.simulator.shapes import ACCENT, BRUSHED, DARK, MAIN, PART_TYPES, PLAIN, TURNED, Relief

with needs("OpenCV", "opencv"):
    import cv2

Array = np.ndarray


@dataclass(frozen=True)
class Material:
    """Reflectance of a surface."""

    bgr: tuple[float, float, float]  # colour, linear 0..1
    metalness: float  # 0..1
    shininess: float  # Blinn's exponent
    grain: float  # contrast of the machining marks


MATERIALS = {
    "steel": Material((0.66, 0.63, 0.61), 1.0, 40, 0.05),
    "chrome": Material((0.80, 0.77, 0.75), 1.0, 90, 0.015),
    "zinc": Material((0.62, 0.70, 0.70), 0.9, 28, 0.07),
    "brass": Material((0.26, 0.58, 0.80), 1.0, 45, 0.04),
    "copper": Material((0.30, 0.44, 0.82), 1.0, 40, 0.04),
    "black oxide": Material((0.16, 0.15, 0.15), 0.7, 30, 0.05),
    "iron": Material((0.34, 0.35, 0.37), 0.6, 14, 0.10),
    "nylon": Material((0.80, 0.86, 0.88), 0.0, 22, 0.015),
    "blue": Material((0.62, 0.30, 0.10), 0.1, 35, 0.02),
    "orange": Material((0.08, 0.38, 0.88), 0.1, 35, 0.02),
    "red": Material((0.12, 0.10, 0.66), 0.1, 35, 0.02),
    "seal": Material((0.07, 0.065, 0.06), 0.2, 20, 0.03),
}


@dataclass(frozen=True)
class Light:
    """A directional light and the darkness of its shadows."""

    azimuth: float  # radians, in the frame: x right, y down
    slope: float  # height of an object over the length of its shadow
    depth: float  # darkness of the shadows, 0..1


@dataclass(frozen=True)
class PartSpec:
    """All that a sprite depends on, besides the light."""

    class_id: int  # index into PART_TYPES
    size_px: float  # the part's longest side
    angle: float  # radians
    seed: int


@dataclass(frozen=True, eq=False)
class Sprite:
    """An image of a part and its shadow, blended into a frame by `frame * keep / 255 + add`; centred on the part."""

    keep: Array  # (h, w, 3) uint8
    add: Array  # (h, w, 3) uint8, BGR
    mask: Array  # (h, w) bool: at least half of the pixel is the part
    area_px: int


def render(spec: PartSpec, light: Light) -> Sprite:
    """Render one part; a pure function of its arguments."""
    part_type, rng = PART_TYPES[spec.class_id], np.random.default_rng(spec.seed)
    cos, sin = math.cos(spec.angle), math.sin(spec.angle)
    half_w, half_h = part_type.half_wh
    shadow_px = 0.24 * spec.size_px / light.slope + 6
    width = 2 * math.ceil((abs(half_w * cos) + abs(half_h * sin)) * spec.size_px + shadow_px)
    height = 2 * math.ceil((abs(half_w * sin) + abs(half_h * cos)) * spec.size_px + shadow_px)
    oversampling = min(max(170 / spec.size_px, 1.0), 2.0)
    fine_w, fine_h = round(width * oversampling), round(height * oversampling)
    px = spec.size_px * oversampling  # the part's longest side on the fine grid
    x = (((np.arange(fine_w, dtype=np.float32) + 0.5) * (width / fine_w) - width / 2) / spec.size_px)[None, :]
    y = (((np.arange(fine_h, dtype=np.float32) + 0.5) * (height / fine_h) - height / 2) / spec.size_px)[:, None]
    relief = Relief(x * cos + y * sin, y * cos - x * sin)
    part_type.shape(relief, lambda low, high: low + (high - low) * float(rng.random()))

    alpha = np.clip(0.5 - relief.distance * px, 0, 1)
    relief.height *= alpha
    colour = _shade(relief, spec, light, px, rng)
    shadow = _shadow(relief.height, light, px)
    # Inside the outline a shadow falls on the part itself, outside it dims the frame.
    colour *= (1 - light.depth * 0.8 * shadow * alpha)[:, :, None]
    soft = cv2.GaussianBlur(shadow, (0, 0), max(0.022 * px, 1.0))
    contact = _wide_blur(alpha, max(0.05 * px, 1.5))
    dim = 1 - light.depth * np.maximum(soft, 0.5 * contact)

    size = (width, height)
    small_alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    keep = cv2.resize(dim * (1 - alpha), size, interpolation=cv2.INTER_AREA)
    add = cv2.resize(colour * alpha[:, :, None], size, interpolation=cv2.INTER_AREA)
    mask = small_alpha >= 0.5
    return Sprite(
        keep=cv2.merge([np.rint(keep * 255).astype(np.uint8)] * 3),
        add=np.rint(np.clip(add, 0, 1) * 255).astype(np.uint8),
        mask=mask,
        area_px=int(np.count_nonzero(mask)),
    )


def _shadow(height: Array, light: Light, px: float) -> Array:
    """Return how far each point lies in the shadow of higher ones, 0..1, by ray marching in five steps."""
    rows, columns = height.shape
    reach = float(height.max()) / light.slope
    shadow = np.zeros_like(height)
    for step in (0.12, 0.3, 0.5, 0.72, 0.95):
        shift = step * reach * px
        move = np.array([[1, 0, -math.cos(light.azimuth) * shift], [0, 1, -math.sin(light.azimuth) * shift]])
        ahead = cv2.warpAffine(height, move, (columns, rows))
        over = (ahead - height - step * reach * light.slope) * 30
        np.maximum(shadow, over, out=shadow)
    return np.clip(shadow, 0, 1, out=shadow)


def _wide_blur(image: Array, sigma_px: float) -> Array:
    """Return a Gaussian blur of large sigma, computed at a quarter of the resolution."""
    size = (image.shape[1], image.shape[0])
    small = cv2.resize(image, (-(-size[0] // 4), -(-size[1] // 4)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma_px / 4), size, interpolation=cv2.INTER_LINEAR)


def _shade(relief: Relief, spec: PartSpec, light: Light, px: float, rng: np.random.Generator) -> Array:
    """Return the colour of each point, (h, w, 3) float32: Lambert, a sky reflected in metal, a Blinn highlight."""
    part_type = PART_TYPES[spec.class_id]
    main = MATERIALS[part_type.materials[int(rng.random() * len(part_type.materials))]]
    accent = MATERIALS[part_type.accents[int(rng.random() * len(part_type.accents))]] if part_type.accents else main
    surface = cv2.GaussianBlur(relief.height, (0, 0), max(0.006 * px, 0.6))
    slope_x = cv2.Sobel(surface, cv2.CV_32F, 1, 0, scale=px / 8)
    slope_y = cv2.Sobel(surface, cv2.CV_32F, 0, 1, scale=px / 8)
    up = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    flat = 1 / math.sqrt(1 + light.slope * light.slope)
    light_x, light_y, light_z = math.cos(light.azimuth) * flat, math.sin(light.azimuth) * flat, light.slope * flat
    towards = -(slope_x * light_x + slope_y * light_y)
    lambert = np.clip((towards + light_z) * up, 0, 1)
    reflected = 2 * up * up * (towards + light_z) - light_z  # cosine between the reflected view and the light
    sky = np.clip(reflected * 0.5 + 0.5, 0, 1)
    sky = 0.12 + 0.95 * sky * sky

    grain = np.zeros_like(up)
    if relief.finish != PLAIN:
        streaks = rng.random(512).astype(np.float32) - 0.5
        where = relief.r if relief.finish == TURNED else relief.y
        grain = streaks[(where * min(px * 0.6, 150) + 128).astype(np.int32) & 511]
    if relief.finish == TURNED:
        # Grooves around the axis stretch the highlight into two opposite fans.
        turn = spec.angle - light.azimuth
        along = (relief.x * math.cos(turn) - relief.y * math.sin(turn)) / np.maximum(relief.r, 0.02)
        sky = sky * (0.82 + 0.42 * along * along)
    elif relief.finish == BRUSHED:
        sky = sky * (1 + 0.25 * relief.x)

    hidden = _wide_blur(relief.height, max(0.05 * px, 1.5)) - relief.height
    open_sky = 1 - np.clip(hidden * 6, 0, 0.55)
    brightness = 0.9 + 0.2 * float(rng.random())
    colour = np.zeros((*up.shape, 3), np.float32)
    solid = relief.distance * px < 0.5
    for slot, material in ((MAIN, main), (ACCENT, accent), (DARK, MATERIALS["seal"])):
        points = np.flatnonzero(solid & (relief.slot == slot))
        if not len(points):
            continue
        highlight = np.clip(reflected.ravel()[points], 0, 1) ** material.shininess * (
            0.55 if material.metalness > 0.5 else 0.35
        )
        body = (0.22 + 0.78 * lambert.ravel()[points]) * (1 - material.metalness * 0.75)
        body += sky.ravel()[points] * (material.metalness * 0.85)
        body *= open_sky.ravel()[points] * (1 + grain.ravel()[points] * (material.grain * 4)) * brightness
        colour.reshape(-1, 3)[points] = body[:, None] * np.array(material.bgr, np.float32) + highlight[:, None]
    return np.clip(colour, 0, 1, out=colour)
