"""The worst of an evaluation: masks of low IoU, objects that were missed, and confident detections of nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import needs
from nanoseg.evaluation.coco_truth import Rle, TrueImage, TrueObject
from nanoseg.evaluation.evaluation import Evaluation, confident
from nanoseg.evaluation.object_ious import Result

IN_CROWD = 0.5  # of a detection that lies in a crowd of its category, so much does: it is not false


class Case(NamedTuple):
    """An object, a detection, or both, and how bad it is."""

    image: TrueImage
    category_id: Any
    xywh: tuple[float, float, float, float]  # of the object, or of a false detection
    true_mask: Rle | None
    found_mask: Rle | None
    value: float  # the IoU, the object's area in pixels, or the detection's confidence


class WorstCases(NamedTuple):
    """The worst first."""

    low_iou: list[Case]
    missed: list[Case]  # the largest first; crowds are not missed
    false: list[Case]  # the most confident first


def worst_cases(evaluation: Evaluation, confidence: float, count: int, *, prompted: bool) -> WorstCases:
    """Return the worst cases of an evaluation.

    Args:
        evaluation: the evaluation.
        confidence: the bundle's threshold: detections below it are neither matched nor false.
        count: the number of cases of a kind, at most.
        prompted: the truth's boxes were the prompts: nothing is missed or false.
    """
    images = {image.id: image for image in evaluation.truth.images}
    objects = {(image.id, one.id): one for image in evaluation.truth.images for one in image.objects}
    low: list[Case] = []
    missed: list[Case] = []
    matched: dict[Any, set[int]] = defaultdict(set)
    for one in sorted(evaluation.objects, key=lambda one: (one.iou, -one.area)):
        true, image = objects[one.image_id, one.id], images[one.image_id]
        if one.result < 0:
            missed.append(Case(image, one.category_id, true.xywh, true.mask, None, one.area))
            continue
        matched[one.image_id].add(one.result)
        if len(low) < count:
            found = evaluation.results[one.image_id][one.result]["segmentation"]
            low.append(Case(image, one.category_id, true.xywh, true.mask, found, one.iou))
    missed.sort(key=lambda case: -case.value)
    false = []
    for image in () if prompted or evaluation.miou is None else images.values():
        for index, result in enumerate(confident(evaluation.results[image.id], confidence)):
            if index not in matched[image.id] and not _in_crowd(result, image, evaluation):
                left, top, width, height = result["bbox"]
                box = (left, top, width, height)
                mask = result["segmentation"]
                false.append(Case(image, result["category_id"], box, None, mask, result["score"]))
    false.sort(key=lambda case: -case.value)
    return WorstCases(low, missed[:count], false[:count])


def _in_crowd(result: Result, image: TrueImage, evaluation: Evaluation) -> bool:
    crowds: list[TrueObject] = [
        one
        for one in image.objects
        if one.is_crowd and evaluation.truth.category_ids[one.class_id] == result["category_id"]
    ]
    if not crowds:
        return False
    with needs("pycocotools", "eval"):
        import pycocotools.mask as pycoco_mask
    boxes = np.array([one.xywh for one in crowds], np.float64)
    share = pycoco_mask.iou(np.array([result["bbox"]], np.float64), boxes, [1] * len(crowds))
    return bool(share.max() >= IN_CROWD)
