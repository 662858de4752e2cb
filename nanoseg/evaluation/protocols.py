"""How good what was found is, against the truth; this file says what the two must look like."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class TrueBoxes(Protocol):
    """What one picture shows: `sources.parts.Truth` is one."""

    @property
    def xyxy(self) -> np.ndarray: ...  # (n, 4)
    @property
    def class_id(self) -> np.ndarray: ...  # (n,) int


class FoundBoxes(TrueBoxes, Protocol):
    """What was found in one picture: `Detections` is one."""

    @property
    def confidence(self) -> np.ndarray: ...  # (n,)


class TrueMasks(TrueBoxes, Protocol):
    """What one picture shows, with visible masks."""

    @property
    def masks(self) -> np.ndarray: ...  # (n, H, W) bool


class FoundMasks(FoundBoxes, Protocol):
    """What was found in one picture, with masks."""

    @property
    def mask(self) -> np.ndarray: ...  # (n, H, W) bool
