"""Scenes: images with ground truth, to train on, to calibrate on and to evaluate with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from nanoseg.errors import SourceError


class NoMasksError(SourceError):
    """The ground truth of a scene has boxes and no masks."""


class Crowds(NamedTuple):
    """Regions with many objects of a class, which COCO's evaluation ignores: boxes in them are neither right nor false.

    `TrueBoxes` without crowds have none.
    """

    xyxy: np.ndarray  # (M, 4)
    class_id: np.ndarray  # (M,) int64


NO_CROWDS = Crowds(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


class SceneBoxes(NamedTuple):
    """Ground truth of boxes."""

    xyxy: np.ndarray  # (N, 4)
    class_id: np.ndarray  # (N,) int64
    crowds: Crowds = NO_CROWDS


class SceneMasks(NamedTuple):
    """Ground truth of boxes and masks."""

    xyxy: np.ndarray  # (N, 4)
    class_id: np.ndarray  # (N,) int64
    masks: np.ndarray  # (N, H, W) bool
    crowds: Crowds = NO_CROWDS


@dataclass(frozen=True, eq=False)
class Scene:
    """An image with its ground truth, in pixels of the image."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    xyxy: np.ndarray  # (N, 4) float32, or float64 where its source is
    class_id: np.ndarray  # (N,) int64, index into the labels of the scenes
    masks: Callable[[], np.ndarray]  # () -> (N, H, W) bool, decoded on call; raises NoMasksError
    crowds: Crowds = NO_CROWDS


class Scenes(Protocol):
    """A sequence of scenes; scene i is always the same, and an index beyond the end wraps around."""

    labels: tuple[str, ...]  # class names; empty where there is no ground truth
    present_labels: frozenset[str]  # those of them that an object in some scene may have
    mirror_symmetric: bool  # whether a mirrored or upside-down scene is as likely as the scene itself

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


def crowds_of(truth: object) -> Crowds:
    """Return the crowds of ground truth; none where it has no such attribute."""
    crowds: Crowds = getattr(truth, "crowds", NO_CROWDS)
    return crowds


def match_labels(labels: Sequence[str], present: Collection[str], names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Find labels of scenes among the class names of a network.

    Args:
        labels: of the scenes, by class id.
        present: those of them that an object in the scenes may have.
        names: of the network, by its class ids.

    Returns:
        The network's class ids, (C,) int64, -1 where it has no such name, and the present labels that it lacks.
    """
    if tuple(names) == tuple(labels):  # which may contain one name twice
        return np.arange(len(names)), []
    class_ids = [names.index(label) if label in names else -1 for label in labels]
    return np.array(class_ids, np.int64), [label for label in labels if label in present and label not in names]
