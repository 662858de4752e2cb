"""Scenes in the order that training sees them, and changed at random as it sees them.

Scene i of a source is always the same, so a training run that is resumed goes on with the data it would have seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nanoseg.errors import needs
from nanoseg.evaluation.scenes import ENDLESS, Scene, Scenes

with needs("OpenCV", "opencv"):
    import cv2


def indices(scenes: Scenes, step: int, size: int, seed: int) -> list[int]:
    """Which scenes the batch of `size` of a step holds.

    The order within an epoch is shuffled by the seed where the scenes are a data set that ends; lines are simulated
    in order, several frames of one after another.
    """
    count, found = len(scenes), []
    for place in range(step * size, (step + 1) * size):
        epoch, position = divmod(place, count)
        found.append(epoch * count + (position if count >= ENDLESS else _shuffled(seed, epoch, count)[position]))
    return found


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, count: int) -> list[int]:
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def mirror(scene: Scene, horizontal: bool, vertical: bool) -> Scene:
    """The scene mirrored left to right, top to bottom, or both."""
    height, width = scene.image.shape[:2]
    xyxy, rows, columns = scene.xyxy.copy(), slice(None), slice(None)
    if horizontal:
        xyxy[:, [0, 2]], columns = width - xyxy[:, [2, 0]], slice(None, None, -1)
    if vertical:
        xyxy[:, [1, 3]], rows = height - xyxy[:, [3, 1]], slice(None, None, -1)
    image = np.ascontiguousarray(scene.image[rows, columns])
    return Scene(image, xyxy, scene.class_id, lambda: scene.masks()[:, rows, columns])


def relight(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and colour balance changed a little: each channel scaled, all shifted."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
    table = np.arange(256, dtype=np.float32)[:, None] * gain + rng.uniform(-18, 18)
    lut = np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return np.asarray(cv2.LUT(image, lut))
