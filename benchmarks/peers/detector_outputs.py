"""What a detector gives for made-up scenes: 8,400 boxes and their scores in 80 classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mask_objects import usual_boxes

ANCHORS, CLASSES = 8400, 80
FOUND_BY = 12  # boxes an object


class Outputs(NamedTuple):
    """Of a detector."""

    boxes: np.ndarray  # (1, A, 4) float32 xyxy
    scores: np.ndarray  # (1, A, C) float32


def scene(objects: int) -> Outputs:
    """Return what a detector finds of so many objects in its input of 640x640 pixels."""
    random = np.random.default_rng(0)
    scores = random.uniform(0, 0.05, (1, ANCHORS, CLASSES)).astype(np.float32)
    corner = random.uniform(0, 600, (ANCHORS, 2))
    boxes = np.concatenate([corner, corner + random.uniform(8, 40, (ANCHORS, 2))], 1)
    rows = random.choice(ANCHORS, objects * FOUND_BY, replace=False)
    truth = np.repeat(usual_boxes(objects, (640, 640)), FOUND_BY, 0)
    sides = np.tile(truth[:, 2:] - truth[:, :2], 2)
    boxes[rows] = truth + random.normal(0, 0.04, truth.shape) * sides
    classes = np.repeat(random.integers(0, CLASSES, objects), FOUND_BY)
    scores[0, rows, classes] = random.uniform(0.3, 0.95, len(rows))
    return Outputs(boxes[None].astype(np.float32), scores)
