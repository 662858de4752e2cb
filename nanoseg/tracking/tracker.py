"""The protocol of trackers, which give the objects of one source identities, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, get_args

import numpy as np

from nanoseg.types import Detections

TrackerName = Literal["bytetrack", "oc-sort", "mcbyte"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)


class Tracker(Protocol):
    """Follows the objects of one source, frame after frame."""

    def update(self, found: Detections, time_s: float | None) -> np.ndarray:
        """Take the objects of the next frame.

        Args:
            found: One detection an object.
            time_s: When the frame was taken, later than the one before; None: a frame's time after it, or not known.

        Returns:
            The identity of each, (N,) int64 from 0, the same in all frames; -1 for one that is not tracked (yet).
        """

    def predict(self, time_s: float | None) -> Mapping[int, np.ndarray]:
        """Return the box of each identity, (4,) float32 xyxy, where it is expected at a time, as update() takes it."""
