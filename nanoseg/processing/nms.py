"""Boxes from the outputs of detect.onnx: NMS on the host where the graph did not do it, and clipping."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict, get_args

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.boxes import Boxes, box_overlap
from nanoseg.processing.geometry import Geometry

DEFAULT_CANDIDATES = 1024  # rows before NMS; super-gradients' nms_top_k
TILE = 256  # rows; a matrix of overlaps this large is in a processor's cache

NmsKind = Literal["by-class", "across-classes"]  # a box is dropped by better ones of its class, or of any


class _Rows(TypedDict):
    boxes: np.ndarray  # (K, 4) float32 xyxy in pixels of the frame, not clipped
    scores: np.ndarray  # (K,) float32
    class_ids: np.ndarray  # (K,) int32
    count: np.ndarray  # () int32: how many rows NMS kept, which are the first ones
    unconverged: np.ndarray  # () int32: unless it is 0, the host must redo NMS: on `candidates`, else on all K rows


class RawDetections(_Rows, total=False):
    """The outputs of detect.onnx by name; the arrays may be views that the next frame overwrites."""

    # (L, 6) float32: xyxy in pixels of `images`, score, class; older graphs do not have it. With keypoints
    # (L, 6 + 3 J): x and y in the same pixels, and confidence, of each.
    candidates: np.ndarray
    keypoints: np.ndarray  # (K, J, 3) float32: x, y in pixels of the frame, confidence; only of a detector of poses


class Limits(NamedTuple):
    """Which of a frame's boxes are objects."""

    confidence: float  # they are above it
    max_objects: int | None = None  # the most confident ones; None: all
    class_ids: np.ndarray | None = None  # (C,) int64; None: all

    def least(self, seen_confidence: float | None) -> float:
        """Return the confidence down to which boxes are wanted, where others are from `seen_confidence` on."""
        return self.confidence if seen_confidence is None else min(self.confidence, seen_confidence)

    def select(self, boxes: Boxes) -> Boxes:
        """Return those of the boxes, which are by falling confidence, in new arrays."""
        wanted = boxes.confidence > self.confidence
        if self.class_ids is not None:
            wanted &= np.isin(boxes.class_id, self.class_ids)
        return boxes.take(np.flatnonzero(wanted)[: self.max_objects])


def check_thresholds(confidence: float | None, iou: float | None, max_objects: int | None) -> None:
    """Raise UsageError for a threshold outside [0, 1], and for a `max_objects` below 1; None is not checked."""
    for name, value in (("confidence", confidence), ("iou", iou)):
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"{name}: wanted a number from 0 to 1, got {value}")
    if max_objects is not None and max_objects < 1:
        raise UsageError(f"max_objects: wanted 1 or more, got {max_objects}")


def check_nms(kind: NmsKind) -> NmsKind:
    """Return a kind of NMS; raises UsageError for another."""
    if kind not in get_args(NmsKind):
        raise UsageError(f"nms: wanted {' or '.join(get_args(NmsKind))}, got {kind}")
    return kind


def postprocess(
    raw: RawDetections,
    geometry: Geometry,
    *,
    confidence: float,
    iou: float,
    kind: NmsKind = "by-class",
) -> Boxes:
    """Return the boxes of a frame: kept by NMS, clipped to the frame, and with an area.

    Args:
        raw: Outputs of detect.onnx.
        geometry: Geometry of the frame.
        confidence: Confidence threshold that the graph was given.
        iou: IoU threshold that the graph was given.
        kind: Of the graph's NMS.

    Returns:
        Boxes in new arrays, most confident first.
    """
    return _clipped(_finish(raw, geometry, confidence, iou, len(raw["boxes"]), kind), geometry)


def _clipped(raw: RawDetections, geometry: Geometry) -> Boxes:
    kept = slice(int(raw["count"]))
    xyxy = geometry.clip(raw["boxes"][kept])
    wanted = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    keypoints = raw["keypoints"][kept] if "keypoints" in raw else None
    boxes = Boxes(xyxy, raw["scores"][kept], raw["class_ids"][kept].astype(np.int64), keypoints)
    return boxes.take(np.flatnonzero(wanted))


def complete_boxes(
    raw: RawDetections,
    geometry: Geometry,
    *,
    confidence: float,
    iou: float,
    max_detections: int,
    kind: NmsKind = "by-class",
    wanted: NmsKind | None = None,
) -> tuple[Boxes, float]:
    """Return the boxes of a frame, and the confidence above which none of them is missing for want of rows.

    Args:
        raw: As `postprocess` takes it.
        geometry: As there.
        confidence: As there.
        iou: As there.
        max_detections: Rows that there are after NMS.
        kind: As there.
        wanted: Kind of NMS that is wanted; unless it is the graph's, NMS is done anew on the rows before it, with the
            result of a graph of that kind.
    """
    redo = wanted is not None and wanted != kind
    finished = _finish(raw, geometry, confidence, iou, max_detections, wanted or kind, redo)
    lowest = float(raw["candidates"][-1, 4] if "candidates" in raw else raw["scores"].min())  # of the rows before NMS
    if (kept := int(finished["count"])) >= max_detections:
        lowest = max(lowest, float(finished["scores"][kept - 1]))
    return _clipped(finished, geometry), lowest


def from_candidates(
    candidates: np.ndarray,
    geometry: Geometry,
    *,
    confidence: float,
    iou: float,
    max_detections: int,
    kind: NmsKind = "by-class",
) -> RawDetections:
    """Return what detect.onnx outputs once its NMS converges, without rows that NMS drops.

    Args:
        candidates: (L, 6) float32: xyxy in pixels of the detector's input, score, class; or (L, 6 + 3 J), with
            keypoints.
        geometry: Geometry of the frame.
        confidence: Confidence threshold.
        iou: IoU threshold.
        max_detections: Keep at most this many, the most confident ones.
        kind: Of NMS.
    """
    scores, class_ids = candidates[:, 4], candidates[:, 5].astype(np.int32)
    kept = nms(candidates[:, :4], scores, _competing(class_ids, kind), confidence, iou, max_detections)
    to_frame = geometry.vector()
    boxes = (candidates[kept, :4] - to_frame[[2, 3, 2, 3]]) / to_frame[[0, 1, 0, 1]]
    found: RawDetections = {**_converged(boxes, scores[kept], class_ids[kept]), "candidates": candidates}
    if candidates.shape[1] > 6:
        keypoints = candidates[kept, 6:].reshape(len(kept), -1, 3)
        xy = (keypoints[..., :2] - to_frame[2:4]) / to_frame[:2]
        found["keypoints"] = np.concatenate([xy, keypoints[..., 2:]], 2)
    return found


def _finish(
    raw: RawDetections,
    geometry: Geometry,
    confidence: float,
    iou: float,
    max_detections: int,
    kind: NmsKind,
    redo: bool = False,
) -> RawDetections:
    """Return the outputs of detect.onnx with its NMS redone where its rounds were not enough, or where told."""
    if not (redo or int(raw["unconverged"])):
        return raw
    if "candidates" in raw:
        limits = {"confidence": confidence, "iou": iou}
        return from_candidates(raw["candidates"], geometry, **limits, max_detections=max_detections, kind=kind)
    kept = nms(raw["boxes"], raw["scores"], _competing(raw["class_ids"], kind), confidence, iou)
    return _converged(raw["boxes"][kept], raw["scores"][kept], raw["class_ids"][kept])


def _competing(class_ids: np.ndarray, kind: NmsKind) -> np.ndarray | None:
    """Return the classes within which boxes drop each other; None where classes do not matter."""
    return class_ids if kind == "by-class" else None


def _converged(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray) -> RawDetections:
    count, unconverged = np.array(len(boxes), np.int32), np.array(0, np.int32)
    return {"boxes": boxes, "scores": scores, "class_ids": class_ids, "count": count, "unconverged": unconverged}


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    class_ids: np.ndarray | None,
    confidence: float,
    iou: float,
    max_detections: int | None = None,
) -> np.ndarray:
    """Return the rows that greedy NMS keeps: what detect.onnx computes, by the same rounds over tiles.

    Args:
        boxes: (K, 4) xyxy in any one unit.
        scores: (K,).
        class_ids: (K,), for NMS by class; None across classes.
        confidence: A row takes part when its score is above this.
        iou: A row is dropped when a kept row, by class one of its class, overlaps it by more than this.
        max_detections: Return at most this many, those of the highest scores.

    Returns:
        int64 indices by falling score; of equal scores the earlier row goes first.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > np.float32(confidence)]
    boxes = boxes.astype(np.float32, copy=False)
    kept = order[:0]
    for start in range(0, len(order), TILE):
        tile = order[start : start + TILE]
        tile = tile[~_overlaps(boxes, class_ids, kept, tile, iou).any(0)]
        within = np.triu(_overlaps(boxes, class_ids, tile, tile, iou), 1)
        keep, before = ~within.any(0), None
        while before is None or (keep != before).any():  # its only fixed point is the result of greedy NMS
            before, keep = keep, ~within[keep].any(0)
        kept = np.concatenate([kept, tile[keep]])
        if max_detections is not None and len(kept) >= max_detections:
            break
    return np.asarray(kept[:max_detections])


def _overlaps(
    boxes: np.ndarray, class_ids: np.ndarray | None, better: np.ndarray, rows: np.ndarray, iou: float
) -> np.ndarray:
    """Return whether `better` rows (n,) overlap `rows` (m,), by class of theirs, by more than `iou`, (n, m) bool."""
    intersection, union = box_overlap(boxes[better], boxes[rows])
    # Multiplied out, as in the graph: a box without area has no division by zero.
    over: np.ndarray = intersection > np.float32(iou) * union
    if class_ids is not None:
        over &= class_ids[better][:, None] == class_ids[rows]
    return over
