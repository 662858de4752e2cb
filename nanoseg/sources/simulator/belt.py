"""The belt under the parts, the light over them and the sensor's noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nanoseg.errors import needs

with needs("OpenCV", "opencv"):
    import cv2

Array = np.ndarray

# BGR of common belts: black and grey rubber, green and blue polyurethane, white food grade, brown felt, ...
BELTS = (
    (42, 40, 39), (78, 76, 74), (70, 92, 44), (122, 84, 36), (196, 200, 200),
    (72, 90, 112), (52, 58, 64), (142, 140, 134), (84, 108, 96), (110, 70, 60),
)  # fmt: skip
STYLES = ("smooth", "grain", "woven", "modular", "ribbed")


def belt_texture(rng: np.random.Generator, along_px: int, across_px: int, scale: float) -> Array:
    """Return one period of the belt, (along_px, across_px, 3) uint8 BGR; it repeats seamlessly along its rows."""
    colour = np.array(BELTS[int(rng.random() * len(BELTS))], np.float32) * (0.8 + 0.4 * rng.random())
    colour = np.clip(colour + (rng.random(3) - 0.5) * 24, 22, 225)
    style = STYLES[int(rng.random() * len(STYLES))]
    tone = _cloud(rng, along_px, across_px, 5) * 0.07 + _cloud(rng, along_px, across_px, 24) * 0.05
    fine = 0.10 if style == "grain" else 0.05
    tone += _cloud(rng, along_px, across_px, max(int(along_px / (2.5 * scale)), 8)) * fine
    s = np.arange(along_px, dtype=np.float32)[:, None]
    a = np.arange(across_px, dtype=np.float32)[None, :]
    if style == "woven":
        pitch = along_px / max(round(along_px / ((5 + 5 * rng.random()) * scale)), 1)
        tone += 0.05 * np.sin(2 * np.pi * s / pitch) * np.sin(2 * np.pi * a / pitch)
    elif style == "ribbed":
        pitch = along_px / max(round(along_px / ((10 + 18 * rng.random()) * scale)), 1)
        slant = float(np.round((rng.random() - 0.5) * 2))
        tone += 0.07 * np.tanh(2.5 * np.sin(2 * np.pi * (s + slant * np.abs(a - across_px / 2)) / pitch))
    elif style == "modular":
        pitch = along_px / max(round(along_px / ((36 + 30 * rng.random()) * scale)), 1)
        row, seam = np.floor(s / pitch), 1.2 * scale
        tone -= 0.22 * (s % pitch < seam) - 0.10 * ((s - seam) % pitch < seam)
        tone -= 0.16 * ((a + (row % 2) * pitch) % (2 * pitch) < seam)
    tone = 1 + tone
    image = np.clip(tone[:, :, None] * colour.astype(np.float32), 0, 255).astype(np.uint8)
    _wear(rng, image, scale)
    return image


def _cloud(rng: np.random.Generator, along_px: int, across_px: int, cells: int) -> Array:
    """Return smooth noise in -1..1 with `cells` cells along, which repeats seamlessly along its rows."""
    columns = max(round(cells * across_px / along_px), 2)
    grid = rng.random((cells, columns), np.float32) * 2 - 1
    grid = np.vstack([grid[-1:], grid, grid[:1]])
    step = along_px / cells
    rows = round(step * (cells + 2))
    first = round(step)
    return np.asarray(cv2.resize(grid, (across_px, rows), interpolation=cv2.INTER_LINEAR)[first : first + along_px])


def _wear(rng: np.random.Generator, image: Array, scale: float) -> None:
    """Draw scratches along the belt and a few oil stains into `image`."""
    along_px, across_px = image.shape[:2]
    layer = np.zeros(image.shape[:2], np.uint8)
    for _ in range(int(rng.random() * 14)):
        s, a, length = rng.random() * along_px, rng.random() * across_px, (20 + 120 * rng.random()) * scale
        if s + length < along_px - 2:
            end = (int(a + (rng.random() - 0.5) * 0.3 * length), int(s + length))
            cv2.line(layer, (int(a), int(s)), end, 8 + int(rng.random() * 16), 1, cv2.LINE_AA)
    lift = cv2.merge([layer] * 3)
    (cv2.add if rng.random() < 0.6 else cv2.subtract)(image, lift, dst=image)
    for _ in range(int(rng.random() * 4)):
        radius = int((8 + 26 * rng.random()) * scale)
        side = 4 * radius + 1
        if side >= min(along_px, across_px):
            continue
        top, left = int(rng.random() * (along_px - side)), int(rng.random() * (across_px - side))
        blot = np.zeros((side, side), np.float32)
        axes = (radius, max(int(radius * (0.5 + 0.5 * rng.random())), 1))
        cv2.ellipse(blot, (2 * radius, 2 * radius), axes, rng.random() * 180, 0, 360, 1.0, -1)
        dim = 1 - (0.1 + 0.22 * rng.random()) * cv2.GaussianBlur(blot, (0, 0), radius * 0.3)
        spot = image[top : top + side, left : left + side]
        spot[:] = (spot * dim[:, :, None]).astype(np.uint8)


def rail(rng: np.random.Generator, along_px: int, width_px: int) -> Array:
    """Return the conveyor's side rail, (along_px, width_px, 3) uint8 BGR, its lip at the last column."""
    tone = 70 + 110 * rng.random()
    across = np.linspace(0, 1, width_px, dtype=np.float32)
    profile = tone * (0.75 + 0.3 * np.sin(across * 2.6)) * np.where(across > 0.8, 0.45, 1)
    streak = cv2.resize(rng.random((max(along_px // 40, 2), 1), np.float32), (1, along_px))
    image = profile[None, :] * (0.92 + 0.12 * streak)
    tint = 0.94 + 0.12 * rng.random(3)
    return np.asarray(np.clip(image[:, :, None] * tint, 0, 255), np.uint8)


def light_map(rng: np.random.Generator, size_wh: tuple[int, int], travel_px: int) -> Array:
    """Return the lamp's intensity, uint8, 255 at its centre.

    It is larger than the frame by `travel_px`, so that the lamp can move.
    """
    width, height = size_wh[0] + travel_px, size_wh[1] + travel_px
    centre = 0.2 + 0.6 * rng.random(2)
    fall = 0.25 + 0.55 * rng.random()
    x = (np.arange(64, dtype=np.float32) / 63 - centre[0])[None, :]
    y = (np.arange(48, dtype=np.float32) / 47 - centre[1])[:, None]
    small = 1 / (1 + fall * 1.6 * (x * x + y * y))
    small *= 255 / small.max()
    large = cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.merge([large.astype(np.uint8)] * 3))


@lru_cache(maxsize=6)
def noise_tiles(height: int, width: int, level: int) -> tuple[Array, Array]:
    """Return positive and negative sensor noise, two (height, width, 3) uint8 tiles of sigma `level` + 1."""
    rng = np.random.default_rng(level)
    side = 256
    grey, chroma = rng.standard_normal((side, side, 1)), rng.standard_normal((side, side, 3))
    tile = np.rint((grey * 0.8 + chroma * 0.6) * (level + 1)).astype(np.int16)
    tile = np.tile(tile, (-(-height // side), -(-width // side), 1))[:height, :width]
    return np.maximum(tile, 0).astype(np.uint8), np.maximum(-tile, 0).astype(np.uint8)
