"""Images to try networks on, drawn by NumPy alone: what a camera sees, as far as statistics go, unlike noise."""

from __future__ import annotations

import numpy as np

_SHAPES = 250  # of one image
# Their radii, as shares of the image's width.
_SMALLEST, _LARGEST = 0.025, 0.3125


def dead_leaves(seed: int, height: int = 360, width: int = 480) -> np.ndarray:
    """Draw ellipses and boxes that occlude each other, their radii distributed as 1/r**3, with shading and some noise.

    Such images have the edges, flat areas and spectrum of photographs (Lee, Mumford and Huang, 2001).

    Args:
        seed: another image for another one; the same at each call.
        height: in pixels.
        width: in pixels.

    Returns:
        (H, W, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(40, 216, 3), np.uint8)
    low, high = _SMALLEST * width, _LARGEST * width
    radii = 1 / np.sqrt(rng.uniform(1 / high**2, 1 / low**2, _SHAPES))
    for radius in np.concatenate([rng.permutation(radii[: _SHAPES // 2]), np.sort(radii[_SHAPES // 2 :])[::-1]]):
        x, y = rng.uniform((0, 0), (width, height))
        colour = rng.integers(0, 256, 3)
        flatness, angle = rng.uniform(0.3, 1), rng.uniform(0, np.pi)
        reach = radius * 1.5
        top, left = max(0, int(y - reach)), max(0, int(x - reach))
        part = image[top : int(y + reach) + 1, left : int(x + reach) + 1]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = ((rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)) / flatness
        is_ellipse = rng.random() < 0.6
        distance = np.hypot(along, across) if is_ellipse else np.maximum(np.abs(along), np.abs(across))
        part[distance <= radius] = colour
    shade = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.5, 1), width)[None, :, None]
    noise = rng.normal(0, 3, image.shape)
    return np.asarray(np.clip(image * shade + noise, 0, 255).astype(np.uint8))


def example_pictures(side_px: int, count: int = 2, seed: int = 0) -> np.ndarray:
    """Return square images as networks take them; the same at each call.

    Args:
        side_px: their side in pixels.
        count: number of images.
        seed: other images for another one.

    Returns:
        (count, 3, S, S) float32 in 0..1, of 8-bit levels.
    """
    images = [dead_leaves(1000 * seed + number, side_px, side_px) for number in range(count)]
    return np.asarray(np.stack(images).transpose(0, 3, 1, 2) / 255, np.float32)
