"""Records: the detections of a frame as one JSON object, written and read back.

    {"frame": 7, "captured_ns": 1700000000000000000, "media_ns": 280000000, "name": "line.mp4",
     "latency_ms": {"detect": 6.1, "total": 41.0},
     "objects": [{"class_id": 2, "class_name": "gear", "confidence": 0.91, "xyxy": [10.5, 20.0, 99.25, 110.0],
                  "mask": {"size": [480, 640], "counts": "..."}, "mask_confidence": 0.88}]}

Tracked objects have `track_id`, null where they are not tracked (yet).
Those of live sources have `age_ms`, from the capture of the frame to its masks, and `shed`, where a deadline left out
work.
Floats are float32, written with the fewest digits that read back to the same value.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing import rle
from nanoseg.types import Detections, Frame


class Mask(msgspec.Struct, frozen=True):
    """A mask in COCO's compressed run-length encoding."""

    size: tuple[int, int]  # H, W
    counts: str

    def decode(self) -> np.ndarray:
        """Return the mask, (H, W) bool; raises UsageError for damaged run lengths."""
        return rle.decode({"size": self.size, "counts": self.counts})


class Object(msgspec.Struct, frozen=True):
    """One detected object."""

    class_id: int
    class_name: str
    confidence: float
    xyxy: tuple[float, float, float, float]  # pixels of the frame
    mask: Mask
    mask_confidence: float
    track_id: int | None = None  # identity over frames; None: not tracked
    keypoints: list[tuple[float, float, float]] | None = None  # x, y in pixels of the frame, confidence


class Record(msgspec.Struct, frozen=True):
    """The content of one line."""

    frame: int  # index in the source
    captured_ns: int
    latency_ms: dict[str, float]
    objects: list[Object]
    name: str = ""  # the file that the frame was read from, where there is one
    media_ns: int | None = None  # when a video shows the frame, from 0; None for images
    age_ms: float | None = None  # from the capture of a live frame to its masks
    shed: list[str] = []  # what a deadline left out: fewer_prompts, carried_boxes, late


def record(frame: Frame, detections: Detections, *, masks: bool = True) -> dict[str, Any]:
    """Return the record of one frame as plain Python objects, which `json.dumps` takes.

    Args:
        frame: the frame.
        detections: what was found in it, in its pixels.
        masks: whether the objects have their masks, which take most of the time and of the bytes.
    """
    encoded, tracks = detections.masks.rles() if masks else [], detections.track_id
    objects = [
        {
            "class_id": int(detections.class_id[i]),
            "class_name": str(detections.class_name[i]),
            "confidence": _short(detections.confidence[i]),
            "xyxy": [_short(edge) for edge in detections.xyxy[i]],
            **({"mask": encoded[i]} if masks else {}),
            "mask_confidence": _short(detections.mask_confidence[i]),
            **({} if detections.keypoints is None else {"keypoints": _keypoints(detections.keypoints[i])}),
            **({} if tracks is None else {"track_id": int(tracks[i]) if tracks[i] >= 0 else None}),
        }
        for i in range(len(detections))
    ]
    line: dict[str, Any] = {
        "frame": frame.index,
        "captured_ns": frame.captured_ns,
        "latency_ms": {stage: round(spent_ms, 3) for stage, spent_ms in detections.latency_ms.items()},
        "objects": objects,
    }
    if frame.name:
        line["name"] = frame.name
    if frame.media_ns is not None:
        line["media_ns"] = frame.media_ns
    if detections.age_ms is not None:
        line["age_ms"] = round(detections.age_ms, 3)
    if detections.shed:
        line["shed"] = list(detections.shed)
    return line


def read_record(line: str | bytes) -> Record:
    """Read one line and check it; raises UsageError, which names the key that is wrong."""
    try:
        return msgspec.json.decode(line, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"record: {error}") from error


def _keypoints(rows: np.ndarray) -> list[list[float]]:
    return [[_short(number) for number in row] for row in rows]


def _short(value: np.float32) -> float:
    # str of a float32 has its fewest digits; float() of the number itself would have sixteen.
    return float(str(np.float32(value)))
