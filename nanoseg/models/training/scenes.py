"""Training scenes: opening the data set, the order of its scenes, random augmentation.

Scene i of a source is always the same, so a resumed run continues with the data it would have seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.evaluation.coco_scenes import CocoScenes
from nanoseg.evaluation.scenes import Scene, Scenes
from nanoseg.evaluation.simulated_scenes import ENDLESS, SimulatedScenes
from nanoseg.models.training.options import TrainingOptions

with needs("OpenCV", "opencv"):
    import cv2


def open_training_scenes(options: TrainingOptions) -> tuple[Scenes, Scenes]:
    """Return the scenes to train on and those to evaluate on.

    Raises:
        SourceError: A data set cannot be read.
        UsageError: The two data sets have different categories.
    """
    annotations, images = options.annotations, options.images
    val_annotations, val_images = options.val_annotations, options.val_images
    if annotations is None or images is None or val_annotations is None or val_images is None:
        return SimulatedScenes(), SimulatedScenes(validation=True)
    train, validation = CocoScenes(annotations, images), CocoScenes(val_annotations, val_images)
    if train.labels != validation.labels:
        raise UsageError(f"{val_annotations}: its categories differ from those of {annotations}")
    return train, validation


def scene_indices(scenes: Scenes, step: int, batch: int, seed: int) -> list[int]:
    """Return the indices of the `batch` scenes of a step.

    A finite data set is shuffled anew for each epoch, by the seed; simulated lines are taken in order, several frames
    of one line after another.
    """
    count, indices = len(scenes), []
    for number in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(number, count)
        index = position if count >= ENDLESS else _shuffled(seed, epoch, count)[position]
        indices.append(epoch * count + index)
    return indices


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, count: int) -> list[int]:
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def mirror(scene: Scene, horizontal: bool, vertical: bool) -> Scene:
    """Return the scene mirrored left to right, top to bottom, or both."""
    height, width = scene.image.shape[:2]
    xyxy, rows, columns = scene.xyxy.copy(), slice(None), slice(None)
    if horizontal:
        xyxy[:, [0, 2]], columns = width - xyxy[:, [2, 0]], slice(None, None, -1)
    if vertical:
        xyxy[:, [1, 3]], rows = height - xyxy[:, [3, 1]], slice(None, None, -1)
    image = np.ascontiguousarray(scene.image[rows, columns])
    return Scene(image, xyxy, scene.class_id, lambda: scene.masks()[:, rows, columns])


def jitter_colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with brightness, contrast and colour balance changed a little at random."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
    table = np.arange(256, dtype=np.float32)[:, None] * gain + rng.uniform(-18, 18)
    lut = np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return np.asarray(cv2.LUT(image, lut))
