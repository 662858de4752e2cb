"""The nouns: a Frame goes in, Prompts say what to cut out, Detections come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.errors import needs
from nanoseg.processing.prompts import ABSENT, BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT, Prompts

if TYPE_CHECKING:
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


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source, as OpenCV delivers it."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    index: int = 0  # position in its source, from 0
    captured_ns: int = 0  # time.time_ns() when it was read
    name: str = ""  # the file or stream it came from

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one Frame, in pixels of that frame, most confident first."""

    xyxy: np.ndarray  # (N, 4) float32: left, top, right, bottom
    confidence: np.ndarray  # (N,) float32 in [0, 1]
    class_id: np.ndarray  # (N,) int64
    class_name: np.ndarray  # (N,) str
    mask_confidence: np.ndarray  # (N,) float32: the decoder's predicted IoU
    masks: Masks  # low-resolution logits; `mask` makes pixels of them
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # milliseconds by stage

    def __len__(self) -> int:
        return len(self.xyxy)

    @property
    def mask(self) -> np.ndarray:
        """Masks of the whole frame, (N, H, W) bool, made anew at each call."""
        return self.masks.full()

    def made(self) -> Detections:
        """The same objects, the pixels of their masks made once, for whoever reads them several times."""
        from nanoseg.processing.masks import RasterMasks

        return replace(self, masks=RasterMasks(self.masks))

    def to_supervision(self) -> Any:
        """The same objects as `supervision.Detections`; raises DependencyError where it is missing."""
        with needs("supervision", "draw"):
            import supervision
        return supervision.Detections(
            xyxy=self.xyxy,
            mask=self.mask,
            confidence=self.confidence,
            class_id=self.class_id,
            data={"class_name": self.class_name, "mask_confidence": self.mask_confidence},
        )
