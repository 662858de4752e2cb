"""COCO's mean average precision of boxes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.evaluation.protocols import FoundBoxes, TrueBoxes

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
    return coco_map_parts(truths, found, 0)[0]


def coco_map_parts(
    truths: Sequence[TrueBoxes], found: Sequence[FoundBoxes], parts: int
) -> tuple[BoxScores, list[BoxScores]]:
    """The same, and again with each of `parts` runs of neighbouring pictures left out: how much hangs on which."""
    if len(truths) != len(found):
        raise UsageError(f"coco_map: got truth for {len(truths)} pictures and boxes for {len(found)}")
    annotations = [row | {"id": i, "iscrowd": 0} for i, row in enumerate(_rows(truths), 1)]
    if not annotations:
        return BoxScores(None, None), [BoxScores(None, None)] * parts
    results = [
        row | {"score": float(score)}
        for row, score in zip(_rows(found), np.concatenate([f.confidence for f in found]), strict=True)
    ]
    if not results:  # pycocotools takes no empty list
        return BoxScores(0.0, 0.0), [BoxScores(0.0, 0.0)] * parts
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
        # Small, medium and large are not asked for, and take three quarters of the time.
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        edges = [part * len(truths) // parts for part in range(parts)] + [len(truths)]
        return _scores(evaluation, range(0)), [_scores(evaluation, range(*run)) for run in itertools.pairwise(edges)]


def _scores(evaluation: Any, without: range) -> BoxScores:
    """Of what was evaluated, but for these pictures."""
    whole = evaluation.evalImgs
    evaluation.evalImgs = [None if e is not None and e["image_id"] in without else e for e in whole]
    evaluation.accumulate()
    evaluation.summarize()
    evaluation.evalImgs = whole
    map50_95, map50 = (float(value) for value in evaluation.stats[:2])
    return BoxScores(None, None) if map50_95 < 0 else BoxScores(map50_95, map50)  # -1: no truth is left


def _rows(pictures: Sequence[TrueBoxes]) -> list[dict[str, Any]]:
    rows = []
    for image_id, picture in enumerate(pictures):
        for (left, top, right, bottom), class_id in zip(picture.xyxy.tolist(), picture.class_id.tolist(), strict=True):
            width, height = right - left, bottom - top
            box = [left, top, width, height]
            rows.append({"image_id": image_id, "category_id": class_id, "bbox": box, "area": width * height})
    return rows
