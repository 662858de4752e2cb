"""The types of the public API: Frame, Prompts and Detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.processing.prompts import ABSENT, BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT, Prompts

if TYPE_CHECKING:
    from nanoseg.bundle.keypoints import KeypointSet
    from nanoseg.processing.boxes import Boxes
    from nanoseg.processing.masks import Masks

__all__ = [
    "ABSENT",
    "BACKGROUND",
    "BOTTOM_RIGHT",
    "FOREGROUND",
    "PADDING",
    "TOP_LEFT",
    "Detections",
    "Frame",
    "Prompts",
]


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One image of a source, as OpenCV delivers it."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    index: int = 0  # position in its source, from 0
    captured_ns: int = 0  # time.time_ns() when it was read
    name: str = ""  # the file or stream it came from
    media_ns: int | None = None  # a video's own clock, from 0; None: a separate image
    duration_ns: int | None = None  # how long a video shows it; None: not known

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"Frame({self.index}{f' of {self.name}' if self.name else ''}, {width}x{height})"


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Objects found in one Frame, in pixels of that frame, most confident first."""

    xyxy: np.ndarray  # (N, 4) float32: left, top, right, bottom
    confidence: np.ndarray  # (N,) float32 in [0, 1]
    class_id: np.ndarray  # (N,) int64
    class_name: np.ndarray  # (N,) str
    mask_confidence: np.ndarray  # (N,) float32: the decoder's predicted IoU
    # Low-resolution logits, of which `mask` computes pixels; far from the box they are -32, NOT_COMPUTED. Detections of
    # nearly the same box share a mask: `masks.same`.
    masks: Masks
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # milliseconds by stage
    age_ms: float | None = None  # of a live frame: from its capture to these results
    shed: tuple[str, ...] = ()  # work that was left out for a deadline; see nanoseg.deadline
    seen: Boxes | None = None  # all boxes from Segmenter.seen_confidence on, of all classes; None: not looked for
    seen_complete_from: float = 0.0  # above this confidence: below it the bundle may have had no rows left for boxes
    track_id: np.ndarray | None = None  # (N,) int64: identity over frames, -1 where not tracked; None: nothing is

    # (N, J, 3) float32: x, y, confidence in [0, 1], of a bundle that finds them; None: not looked for in this frame.
    keypoints: np.ndarray | None = None
    keypoint_set: KeypointSet | None = None  # names, sigmas and skeleton of the keypoints

    def __len__(self) -> int:
        return len(self.xyxy)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in Counter(self.class_name.tolist()).most_common())
        return f"Detections({len(self)}{f': {counts}' if counts else ''})"

    @property
    def mask(self) -> np.ndarray:
        """Masks of the whole frame, (N, H, W) bool, computed at each access; `masks` has cheaper crops and RLE."""
        return self.masks.full()

    def select(self, indices: np.ndarray) -> Detections:
        """Return the objects of these indices (M,), in their order."""
        return replace(
            self,
            xyxy=self.xyxy[indices],
            confidence=self.confidence[indices],
            class_id=self.class_id[indices],
            class_name=self.class_name[indices],
            mask_confidence=self.mask_confidence[indices],
            masks=self.masks.select(indices),
            track_id=None if self.track_id is None else self.track_id[indices],
            keypoints=None if self.keypoints is None else self.keypoints[indices],
        )

    def materialize(self) -> Detections:
        """Return the same objects with raster masks: their pixels are computed once, here, and kept."""
        return replace(self, masks=self.masks.materialize())

    def to_supervision(self) -> Any:
        """Return the same objects as `supervision.Detections`.

        `data` has `class_name` and `mask_confidence`, each (N,), and where there are any `keypoints`, (N, J, 3).

        Raises:
            DependencyError: If supervision is not installed.
        """
        with needs("supervision", "draw"):
            import supervision
        return supervision.Detections(
            xyxy=self.xyxy,
            mask=self.mask,
            confidence=self.confidence,
            class_id=self.class_id,
            tracker_id=self.track_id,
            data={
                "class_name": self.class_name,
                "mask_confidence": self.mask_confidence,
                **({} if self.keypoints is None else {"keypoints": self.keypoints}),
            },
        )

    def keypoints_to_supervision(self) -> Any:
        """Return the keypoints of the same objects as `supervision.KeyPoints`, for its annotators and metrics.

        Raises:
            UsageError: If there are none: the bundle does not find any, or not in this frame.
            DependencyError: If supervision is not installed.
        """
        if self.keypoints is None:
            raise UsageError("keypoints: wanted detections of a bundle that finds them, in a frame that it looked at")
        with needs("supervision", "draw"):
            import supervision
        xy, confidence = self.keypoints[..., :2], self.keypoints[..., 2]
        data: dict[str, Any] = {"class_name": self.class_name}
        return supervision.KeyPoints(xy=xy, keypoint_confidence=confidence, class_id=self.class_id, data=data)
