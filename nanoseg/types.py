"""The nouns: a Frame goes in, Prompts say what to cut out, Detections come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.errors import UsageError, needs

if TYPE_CHECKING:
    from nanoseg.masks import Masks

FOREGROUND, BACKGROUND, TOP_LEFT, BOTTOM_RIGHT, PADDING, ABSENT = 1, 0, 2, 3, -1, -2


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
class Prompts:
    """What to cut out of a frame: N prompts of P points each, in pixels of that frame.

    Labels are SAM's: 1 foreground, 0 background, 2 and 3 a box's corners, -1 the padding
    point (it changes the answer, as in SAM), -2 absent (no influence at all).
    """

    coords: np.ndarray  # (N, P, 2) float32: x, y
    labels: np.ndarray  # (N, P) float32

    def __len__(self) -> int:
        return len(self.coords)

    @classmethod
    def from_boxes(cls, boxes: Any) -> Prompts:
        """Boxes (N, 4) or (4,), xyxy in pixels of the frame, as SAM's two corner points.

        Raises UsageError for another shape, for a box whose right is left of its left, and for one without an end.
        """
        array = _floats("boxes", boxes)
        if array.size == 0:
            array = array.reshape(0, 4)
        if array.ndim == 1:
            array = array[None]
        if array.ndim != 2 or array.shape[1] != 4:
            raise UsageError(f"boxes: wanted (N, 4) left, top, right, bottom, got shape {array.shape}")
        for i, (left, top, right, bottom) in enumerate(array):
            if not (left <= right and top <= bottom and np.isfinite(array[i]).all()):
                raise UsageError(f"boxes[{i}]: wanted finite left <= right and top <= bottom, got {array[i].tolist()}")
        labels = np.tile(np.array([TOP_LEFT, BOTTOM_RIGHT], np.float32), (len(array), 1))
        return cls(array.reshape(-1, 2, 2), labels)

    @classmethod
    def from_points(cls, points: Sequence[Any] | np.ndarray, labels: Sequence[Any] | np.ndarray) -> Prompts:
        """Points of N prompts, each (P_i, 2) with P_i labels; short prompts are filled with absent points.

        A prompt of foreground and background points alone gets SAM's padding point (label -1), as
        segment-anything's predictor gives it. Raises UsageError where points and labels do not match.
        """
        if len(points) != len(labels):
            raise UsageError(f"points: {len(points)} prompts, but labels for {len(labels)}; each prompt needs its own")
        rows: list[tuple[np.ndarray, np.ndarray]] = []
        for i, (some_points, some_labels) in enumerate(zip(points, labels, strict=True)):
            xy, kind = _floats(f"points[{i}]", some_points), _floats(f"labels[{i}]", some_labels)
            if xy.ndim != 2 or xy.shape[1] != 2 or kind.shape != xy.shape[:1] or len(xy) == 0:
                raise UsageError(
                    f"points[{i}]: wanted (P, 2) points and (P,) labels with P >= 1, got {xy.shape} and {kind.shape}"
                )
            if not np.isfinite(xy).all():
                raise UsageError(f"points[{i}]: wanted finite coordinates in pixels of the frame, got {xy.tolist()}")
            if not np.isin(kind, (FOREGROUND, BACKGROUND, TOP_LEFT, BOTTOM_RIGHT, PADDING, ABSENT)).all():
                raise UsageError(f"labels[{i}]: wanted 1, 0, 2, 3, -1 or -2, got {kind.tolist()}")
            if not np.isin(kind, (TOP_LEFT, BOTTOM_RIGHT, PADDING)).any():
                xy = np.concatenate([xy, np.zeros((1, 2), np.float32)])
                kind = np.append(kind, np.float32(PADDING))
            rows.append((xy, kind))
        longest = max((len(kind) for _, kind in rows), default=1)
        coords = np.zeros((len(rows), longest, 2), np.float32)
        kinds = np.full((len(rows), longest), ABSENT, np.float32)
        for i, (xy, kind) in enumerate(rows):
            coords[i, : len(xy)], kinds[i, : len(kind)] = xy, kind
        return cls(coords, kinds)


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


def _floats(what: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: wanted numbers in rows of one length: {error}") from error
