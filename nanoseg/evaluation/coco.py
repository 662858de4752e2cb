"""COCO's mean average precision of boxes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.evaluation import FoundBoxes, TrueBoxes

with needs("pycocotools", "eval"):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval


class BoxScores(NamedTuple):
    """Mean average precision over classes; None where there is no truth to find."""

    map50_95: float | None  # mean over box IoU 0.50, 0.55 ... 0.95
    map50: float | None


def coco_map(truths: Sequence[TrueBoxes], found: Sequence[FoundBoxes]) -> BoxScores:
    """COCO's box mAP over pictures: `truths[i]` and `found[i]` are of one picture, 100 boxes of each count.

    Only classes that the truth has are averaged. Raises UsageError where the two do not pair.
    """
    if len(truths) != len(found):
        raise UsageError(f"coco_map: got truth for {len(truths)} pictures and boxes for {len(found)}")
    annotations = [row | {"id": i, "iscrowd": 0} for i, row in enumerate(_rows(truths), 1)]
    if not annotations:
        return BoxScores(None, None)
    results = [
        row | {"score": float(score)}
        for row, score in zip(_rows(found), np.concatenate([f.confidence for f in found]), strict=True)
    ]
    if not results:  # pycocotools takes no empty list
        return BoxScores(0.0, 0.0)
    dataset = {
        "images": [{"id": i} for i in range(len(truths))],
        "categories": [{"id": i} for i in sorted({row["category_id"] for row in annotations})],
        "annotations": annotations,
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return BoxScores(float(evaluation.stats[0]), float(evaluation.stats[1]))


def _rows(pictures: Sequence[TrueBoxes]) -> list[dict[str, Any]]:
    rows = []
    for image_id, picture in enumerate(pictures):
        for (left, top, right, bottom), class_id in zip(picture.xyxy.tolist(), picture.class_id.tolist(), strict=True):
            width, height = right - left, bottom - top
            box = [left, top, width, height]
            rows.append({"image_id": image_id, "category_id": class_id, "bbox": box, "area": width * height})
    return rows
