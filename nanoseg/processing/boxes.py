"""What a detector found, out of the rows of detect.onnx."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoseg.backends.pipeline import RawDetections
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import finish


class Boxes(NamedTuple):
    """What the detector found, most confident first, in pixels of the frame and inside it."""

    xyxy: np.ndarray  # (N, 4) float32
    confidence: np.ndarray  # (N,) float32
    class_id: np.ndarray  # (N,) int64


def boxes_of(rows: RawDetections, geometry: Geometry, confidence: float, iou: float, most: int | None) -> Boxes:
    """The boxes that have an area, at most `most`, in arrays of their own; NMS is finished where the graph did not.

    `confidence` and `iou` are the thresholds that the graph was given.
    """
    kept: slice | np.ndarray = slice(rows.count)
    if rows.unconverged:
        kept = finish(rows.boxes, rows.scores, rows.class_ids, confidence, iou)
    xyxy = geometry.clip(rows.boxes[kept])
    some = np.flatnonzero((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))[:most]
    return Boxes(xyxy[some], rows.scores[kept][some], rows.class_ids[kept][some].astype(np.int64))
