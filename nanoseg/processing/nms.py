"""Boxes from the outputs of detect.onnx: NMS on the host if the graph's did not converge, and clipping."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.boxes import Boxes, box_overlap
from nanoseg.processing.geometry import Geometry


class RawDetections(TypedDict):
    """The outputs of detect.onnx by name; the arrays may be views that the next frame overwrites."""

    boxes: np.ndarray  # (K, 4) float32 xyxy in pixels of the frame, not clipped
    scores: np.ndarray  # (K,) float32
    class_ids: np.ndarray  # (K,) int32
    count: np.ndarray  # () int32: how many rows NMS kept, which are the first ones
    unconverged: np.ndarray  # () int32: unless it is 0, the host must redo NMS on all K rows


def check_thresholds(confidence: float | None, iou: float | None, max_objects: int | None) -> None:
    """Raise UsageError for a threshold outside [0, 1], and for a `max_objects` below 1; None is not checked."""
    for name, value in (("confidence", confidence), ("iou", iou)):
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}: wanted a number from 0 to 1, got {value}")
    if max_objects is not None and max_objects < 1:
        raise UsageError(f"max_objects: wanted 1 or more, got {max_objects}")


def postprocess(
    raw: RawDetections, geometry: Geometry, *, confidence: float, iou: float, max_objects: int | None = None
) -> Boxes:
    """Return the boxes of a frame: kept by NMS, clipped to the frame, and with an area.

    Args:
        raw: Outputs of detect.onnx.
        geometry: Geometry of the frame.
        confidence: Confidence threshold that the graph was given.
        iou: IoU threshold that the graph was given.
        max_objects: Keep at most this many, the most confident ones.

    Returns:
        Boxes in new arrays, most confident first.
    """
    kept = kept_rows(raw, confidence=confidence, iou=iou)
    xyxy = geometry.clip(raw["boxes"][kept])
    chosen = np.flatnonzero((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))[:max_objects]
    return Boxes(xyxy[chosen], raw["scores"][kept][chosen], raw["class_ids"][kept][chosen].astype(np.int64))


def kept_rows(raw: RawDetections, *, confidence: float, iou: float) -> slice | np.ndarray:
    """Return the rows that NMS keeps, by falling score; computed here only where the graph did not converge."""
    if int(raw["unconverged"]):
        return nms(raw["boxes"], raw["scores"], raw["class_ids"], confidence, iou)
    return slice(int(raw["count"]))


def nms(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, confidence: float, iou: float) -> np.ndarray:
    """Return the rows that greedy class-aware NMS keeps: what detect.onnx computes, and the oracle of its tests.

    Args:
        boxes: (K, 4) xyxy in any one unit.
        scores: (K,).
        class_ids: (K,).
        confidence: A row takes part when its score is above this.
        iou: A row is dropped when a kept row of its class overlaps it by more than this.

    Returns:
        int64 indices by falling score; of equal scores the earlier row goes first.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > np.float32(confidence)]
    sorted_boxes, sorted_classes = boxes[order].astype(np.float32), class_ids[order]
    threshold = np.float32(iou)
    alive = np.ones(len(order), bool)
    kept = []
    for row in range(len(order)):
        if not alive[row]:
            continue
        kept.append(order[row])
        after = slice(row + 1, None)
        intersection, union = box_overlap(sorted_boxes[row : row + 1], sorted_boxes[after])
        # Multiplied out, as in the graph: a box without area has no division by zero.
        overlaps = intersection[0] > threshold * union[0]
        alive[after] &= ~(overlaps & (sorted_classes[after] == sorted_classes[row]))
    return np.array(kept, np.int64)
