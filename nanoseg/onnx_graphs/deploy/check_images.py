"""Images to try networks on where the user gives none: the simulated line's, and some with natural statistics."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np

from nanoseg.errors import DependencyError

MAX_IMAGES = 8  # of a user's folder
SIMULATED, NATURAL = 2, 3
_HEIGHT, _WIDTH = 360, 480
_SHAPES = 250  # of one image


def check_images(source: str | None) -> list[np.ndarray]:
    """Return a few different images, (H, W, 3) uint8 BGR: of a folder, pattern or parts://, or those built in.

    Raises:
        SourceError: there is no image, or one cannot be read.
    """
    if source is None:
        return list(built_in_images())
    from nanoseg.evaluation.open_scenes import open_scenes  # here and below, as images need OpenCV and graphs do not
    from nanoseg.evaluation.split import spread

    scenes = open_scenes(source)
    return [scenes[index].image for index in spread(scenes, MAX_IMAGES)]


@cache
def built_in_images() -> tuple[np.ndarray, ...]:
    """Return the same images each time: frames of the simulated line, where OpenCV is installed, then dead leaves."""
    frames: list[np.ndarray] = []
    with suppress(DependencyError):
        from nanoseg.sources.simulator.demo_lines import FRAMES_PER_LINE, DemoLines

        lines = DemoLines()
        frames = [lines.frame(number * FRAMES_PER_LINE).image for number in range(SIMULATED)]
    return (*frames, *(dead_leaves(seed) for seed in range(NATURAL)))


def dead_leaves(seed: int) -> np.ndarray:
    """Draw ellipses and boxes that occlude each other, their radii distributed as 1/r**3, with shading and some noise.

    Such images have the edges, flat areas and spectrum of photographs (Lee, Mumford and Huang, 2001).
    """
    rng = np.random.default_rng(seed)
    image = np.full((_HEIGHT, _WIDTH, 3), rng.integers(40, 216, 3), np.uint8)
    low, high = 12.0, 150.0
    radii = 1 / np.sqrt(rng.uniform(1 / high**2, 1 / low**2, _SHAPES))
    for radius in np.concatenate([rng.permutation(radii[: _SHAPES // 2]), np.sort(radii[_SHAPES // 2 :])[::-1]]):
        x, y = rng.uniform((0, 0), (_WIDTH, _HEIGHT))
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
    shade = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.5, 1), _WIDTH)[None, :, None]
    noise = rng.normal(0, 3, image.shape)
    return np.asarray(np.clip(image * shade + noise, 0, 255).astype(np.uint8))
