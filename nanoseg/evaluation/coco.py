"""COCO's mean average precision of boxes, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.evaluation.protocols import DetectedBoxes, TrueBoxes
from nanoseg.evaluation.scenes import crowds_of

with needs("pycocotools", "eval"):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval


class BoxScores(NamedTuple):
    """Mean average precision over classes; None where there are no true objects."""

    map50_95: float | None  # mean over box IoU 0.50, 0.55 ... 0.95
    map50: float | None


def coco_map(truths: Sequence[TrueBoxes], detections: Sequence[DetectedBoxes]) -> BoxScores:
    """Return COCO's box mAP, averaged over the classes of the ground truth.

    Args:
        truths: ground truth by image; boxes on their crowds, where they have some, are ignored.
        detections: detections by image; the 100 most confident of an image are counted.

    Raises:
        UsageError: the two are not of equally many images.
    """
    return coco_map_parts(truths, detections, 0)[0]


def coco_map_parts(
    truths: Sequence[TrueBoxes], detections: Sequence[DetectedBoxes], parts: int
) -> tuple[BoxScores, list[BoxScores]]:
    """Return COCO's box mAP, and again with each of `parts` runs of neighbouring images left out."""
    if len(truths) != len(detections):
        raise UsageError(f"coco_map: got truth for {len(truths)} images and boxes for {len(detections)}")
    rows = [row | {"iscrowd": 0} for row in _rows(truths)]
    rows += [row | {"iscrowd": 1} for row in _rows([crowds_of(truth) for truth in truths])]
    annotations = [row | {"id": i} for i, row in enumerate(rows, 1)]
    if not annotations:
        return BoxScores(None, None), [BoxScores(None, None)] * parts
    results = [
        row | {"score": float(score)}
        for row, score in zip(_rows(detections), np.concatenate([each.confidence for each in detections]), strict=True)
    ]
    if not results:  # pycocotools takes no empty list
        return BoxScores(0.0, 0.0), [BoxScores(0.0, 0.0)] * parts
    dataset = {
        "images": [{"id": i} for i in range(len(truths))],
        "categories": [{"id": i} for i in sorted({row["category_id"] for row in annotations})],
        "annotations": annotations,
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        # Small, medium and large are not needed, and would take three quarters of the time.
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        edges = [part * len(truths) // parts for part in range(parts)] + [len(truths)]
        return _scores(evaluation, range(0)), [_scores(evaluation, range(*run)) for run in itertools.pairwise(edges)]


def _scores(evaluation: Any, left_out: range) -> BoxScores:
    """Return the scores over all images but those left out."""
    all_images = evaluation.evalImgs
    evaluation.evalImgs = [None if e is not None and e["image_id"] in left_out else e for e in all_images]
    evaluation.accumulate()
    evaluation.summarize()
    evaluation.evalImgs = all_images
    map50_95, map50 = (float(value) for value in evaluation.stats[:2])
    return BoxScores(None, None) if map50_95 < 0 else BoxScores(map50_95, map50)  # -1: no true object is left


def _rows(images: Sequence[TrueBoxes]) -> list[dict[str, Any]]:
    """Return the boxes as COCO annotations."""
    rows = []
    for image_id, boxes in enumerate(images):
        for (left, top, right, bottom), class_id in zip(boxes.xyxy.tolist(), boxes.class_id.tolist(), strict=True):
            width, height = right - left, bottom - top
            box = [left, top, width, height]
            rows.append({"image_id": image_id, "category_id": class_id, "bbox": box, "area": width * height})
    return rows
