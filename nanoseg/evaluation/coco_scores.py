"""COCO's figures of boxes, masks or keypoints, over all categories and of each, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from nanoseg.errors import needs
from nanoseg.evaluation.coco_truth import CocoTruth, TrueObject

Kind = Literal["bbox", "segm", "keypoints"]
# One detection in COCO's form of results: image_id, category_id, bbox, score, segmentation; keypoints of poses.
Result = Mapping[str, Any]


class Figure(NamedTuple):
    """One of the figures that COCO's evaluation prints."""

    name: str
    recall: bool  # average recall; else average precision
    iou: float | None = None  # at this IoU alone; None: mean over 0.50, 0.55 ... 0.95
    area: str = "all"
    max_detections: int = 100  # the most confident of an image and category


FIGURES = (
    Figure("ap", False),
    Figure("ap50", False, iou=0.5),
    Figure("ap75", False, iou=0.75),
    Figure("ap_small", False, area="small"),
    Figure("ap_medium", False, area="medium"),
    Figure("ap_large", False, area="large"),
    Figure("ar_1", True, max_detections=1),
    Figure("ar_10", True, max_detections=10),
    Figure("ar_100", True),
    Figure("ar_small", True, area="small"),
    Figure("ar_medium", True, area="medium"),
    Figure("ar_large", True, area="large"),
)
# Those of keypoints, by object keypoint similarity in place of IoU; COCO has none of small objects.
KEYPOINT_FIGURES = tuple(
    Figure(f"{kind}{suffix}", kind == "ar", iou, area, max_detections=20)
    for kind in ("ap", "ar")
    for suffix, iou, area in (
        ("", None, "all"),
        ("50", 0.5, "all"),
        ("75", 0.75, "all"),
        ("_medium", None, "medium"),
        ("_large", None, "large"),
    )
)
Scores = dict[str, "float | None"]  # by the figure's name; None where there are no true objects


class CocoScores(NamedTuple):
    """The figures of one kind."""

    overall: Scores  # mean over the categories that have true objects
    by_class: list[Scores]  # by class id


def coco_scores(truth: CocoTruth, results: Sequence[Result], kind: Kind, sigmas: Sequence[float] = ()) -> CocoScores:
    """Return COCO's figures of detections.

    Args:
        truth: the ground truth; for "segm" all of its annotations have masks.
        results: detections in the images of the ground truth, in any order; equally confident ones of an image and
            category count in this order.
        kind: compare boxes, masks or keypoints. The size of a detection is the area of what is compared, as in
            detectron2: pycocotools' loadRes takes that of the box, also for masks, where results have both.
        sigmas: of the J keypoints. Objects of which no keypoint is labelled are neither found nor missed.
    """
    with needs("pycocotools", "eval"):
        import pycocotools.mask as pycoco_mask
        from pycocotools.cocoeval import COCOeval
    # Ids of one's own: pycocotools takes an object whose id is 0 for none, and no text.
    image_of = {image.id: number for number, image in enumerate(truth.images, 1)}
    class_of = {category: number for number, category in enumerate(truth.category_ids, 1)}
    true_rows = [
        {
            "image_id": image_of[image.id],
            "category_id": one.class_id + 1,
            "bbox": list(one.xywh),
            "area": one.area_px,
            "iscrowd": int(one.is_crowd),
            "segmentation": one.mask,
            **(_true_keypoints(one, len(sigmas)) if kind == "keypoints" else {}),
        }
        for image in truth.images
        for one in image.objects
    ]
    found_rows = [
        {
            "image_id": image_of[one["image_id"]],
            "category_id": class_of[one["category_id"]],
            "bbox": one["bbox"],
            "area": float(pycoco_mask.area(one["segmentation"])) if kind == "segm" else one["bbox"][2] * one["bbox"][3],
            "iscrowd": 0,
            "segmentation": one["segmentation"],
            "score": one["score"],
            **(_found_keypoints(one) if kind == "keypoints" else {}),
        }
        for one in results
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(_table(true_rows, truth), _table(found_rows, truth), kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
    figures = KEYPOINT_FIGURES if kind == "keypoints" else FIGURES
    classes = [slice(None), *(slice(k, k + 1) for k in range(len(class_of)))]
    every = [_figures(evaluation, each, figures) for each in classes]
    return CocoScores(every[0], every[1:])


def _true_keypoints(one: TrueObject, count: int) -> dict[str, Any]:
    keypoints = list(one.keypoints or (0.0,) * (3 * count))
    return {"keypoints": keypoints, "num_keypoints": sum(visibility > 0 for visibility in keypoints[2::3])}


def _found_keypoints(one: Result) -> dict[str, Any]:
    """Return keypoints and, as loadRes does, the bounds of them all as the box."""
    x, y = one["keypoints"][0::3], one["keypoints"][1::3]
    width, height = max(x) - min(x), max(y) - min(y)
    return {"keypoints": one["keypoints"], "bbox": [min(x), min(y), width, height], "area": width * height}


def _table(rows: list[dict[str, Any]], truth: CocoTruth) -> Any:
    from pycocotools.coco import COCO

    sizes_wh = [image.entry.size_wh for image in truth.images]
    table = COCO()
    table.dataset = {
        "images": [{"id": number, "width": w, "height": h} for number, (w, h) in enumerate(sizes_wh, 1)],
        "categories": [{"id": number} for number in range(1, len(truth.labels) + 1)],
        "annotations": [{**row, "id": number} for number, row in enumerate(rows, 1)],
        "info": {},
    }
    table.createIndex()
    return table


def _figures(evaluation: Any, classes: slice, figures: Sequence[Figure]) -> Scores:
    """Return the mean of each figure over some classes."""
    parameters, tables = evaluation.params, evaluation.eval
    scores: Scores = {}
    for figure in figures:
        values = tables["recall"][:, classes] if figure.recall else tables["precision"][:, :, classes]
        if figure.iou is not None:
            values = values[np.isclose(parameters.iouThrs, figure.iou)]
        area = parameters.areaRngLbl.index(figure.area)
        values = values[..., area, parameters.maxDets.index(figure.max_detections)]
        values = values[values > -1]  # -1: there is no true object
        scores[figure.name] = float(values.mean()) if values.size else None
    return scores
