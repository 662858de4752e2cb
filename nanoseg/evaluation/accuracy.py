"""Accuracy of a segmenter over frames whose ground truth is known: box mAP and mask IoU together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoseg.evaluation.miou import MaskIou
from nanoseg.evaluation.scenes import SceneBoxes, crowds_of
from nanoseg.processing.boxes import Boxes
from nanoseg.types import Detections

if TYPE_CHECKING:
    from nanoseg.evaluation.protocols import TrueMasks

METRICS = ("map50_95", "map50", "miou", "miou_small", "miou_medium", "miou_large")


class AccuracyMeter:
    """Accumulator of frames that computes COCO's box mAP and the mean mask IoU over all of them."""

    def __init__(self) -> None:
        self._truths: list[SceneBoxes] = []
        self._detections: list[Boxes] = []
        self._ious = MaskIou()

    def add(self, truth: TrueMasks, detections: Detections) -> None:
        """Add one frame's ground truth and its detections."""
        self._ious.add(truth, detections)
        self._truths.append(SceneBoxes(truth.xyxy, truth.class_id, crowds_of(truth)))
        self._detections.append(Boxes(detections.xyxy, detections.confidence, detections.class_id))

    def result(self) -> dict[str, float | None]:
        """Return the METRICS, rounded to 4 decimals; None where there was nothing to measure."""
        from nanoseg.evaluation.coco import coco_map  # late: pycocotools is optional, and slow to load

        scores = {**coco_map(self._truths, self._detections)._asdict(), **self._ious.result()._asdict()}
        return {name: None if scores[name] is None else round(scores[name], 4) for name in METRICS}
