"""The attributes that evaluation reads from ground truth and from detections."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class TrueBoxes(Protocol):
    """Ground truth of one image, such as the simulator's GroundTruth."""

    @property
    def xyxy(self) -> np.ndarray: ...  # (n, 4)
    @property
    def class_id(self) -> np.ndarray: ...  # (n,) int


class DetectedBoxes(TrueBoxes, Protocol):
    """Boxes detected in one image, such as Detections or Boxes."""

    @property
    def confidence(self) -> np.ndarray: ...  # (n,)


class TrueMasks(TrueBoxes, Protocol):
    """Ground truth of one image, with visible masks."""

    @property
    def masks(self) -> np.ndarray: ...  # (n, H, W) bool


class DetectedMasks(DetectedBoxes, Protocol):
    """Detections in one image, with masks."""

    @property
    def mask(self) -> np.ndarray: ...  # (n, H, W) bool
