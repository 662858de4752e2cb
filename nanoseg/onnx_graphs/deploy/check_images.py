"""Images to try networks on where the user gives none: the simulated line's, and some with natural statistics."""

from __future__ import annotations

from functools import cache

import numpy as np

MAX_IMAGES = 8  # of a user's folder
SIMULATED, NATURAL = 2, 3
_HEIGHT, _WIDTH = 360, 480
_SHAPES = 400  # of one image


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
    """Return the same images each time: frames of the simulated line, then dead leaves."""
    from nanoseg.sources.simulator.demo_lines import FRAMES_PER_LINE, DemoLines

    lines = DemoLines()
    frames = [lines.frame(number * FRAMES_PER_LINE).image for number in range(SIMULATED)]
    return (*frames, *(dead_leaves(seed) for seed in range(NATURAL)))


def dead_leaves(seed: int) -> np.ndarray:
    """Draw shapes that occlude each other, their radii distributed as 1/r**3, with shading and a little noise.

    Such images have the edges, flat areas and spectrum of photographs (Lee, Mumford and Huang, 2001).
    """
    import cv2

    rng = np.random.default_rng(seed)
    image = np.full((_HEIGHT, _WIDTH, 3), rng.integers(40, 216, 3), np.uint8)
    low, high = 12.0, 150.0
    radii = 1 / np.sqrt(rng.uniform(1 / high**2, 1 / low**2, _SHAPES))
    for radius in np.concatenate([rng.permutation(radii[: _SHAPES // 2]), np.sort(radii[_SHAPES // 2 :])[::-1]]):
        x, y = (int(value) for value in rng.uniform((0, 0), (_WIDTH, _HEIGHT)))
        colour = [int(level) for level in rng.integers(0, 256, 3)]
        axes = max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1)))
        angle = float(rng.uniform(0, 180))
        if rng.random() < 0.6:
            cv2.ellipse(image, (x, y), axes, angle, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints(((x, y), (2.0 * axes[0], 2.0 * axes[1]), angle)).astype(np.int32)
            cv2.fillConvexPoly(image, box, colour, cv2.LINE_AA)
    shade = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.5, 1), _WIDTH)[None, :, None]
    noise = rng.normal(0, 3, image.shape)
    return np.asarray(np.clip(image * shade + noise, 0, 255).astype(np.uint8))
