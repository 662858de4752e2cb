"""Mask IoU of each object, and its mean by size and by category, as NanoSAM's evaluation computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import needs
from nanoseg.evaluation.coco_truth import Rle, TrueImage
from nanoseg.evaluation.miou import match
from nanoseg.processing.boxes import Boxes

# Limits of the area that the annotation gives. Both ends belong to a size, as in NanoSAM's code and in COCO's.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
Result = Mapping[str, Any]


class ObjectIou(NamedTuple):
    """The mask IoU of one annotation; the fields are those of the file that NanoSAM's evaluation writes."""

    id: int | float | str
    area: float
    category_id: int | float | str
    iscrowd: int
    image_id: int | float | str
    box: tuple[float, float, float, float]  # xyxy
    iou: float
    result: int  # index into the image's results; -1: not found


class MeanIou(NamedTuple):
    """Mean IoU over some objects."""

    miou: float | None  # None where there are none
    objects: int


class MeanIouTable(NamedTuple):
    """Means by `all` and by the name of each of SIZES."""

    overall: dict[str, MeanIou]
    by_class: list[dict[str, MeanIou]]  # by class id


def prompted_ious(truth: TrueImage, results: Sequence[Result], category_ids: Sequence[Any]) -> list[ObjectIou]:
    """Return the IoU of each annotation of an image, crowds included, with the mask that its own box prompted.

    Args:
        truth: the image; all its annotations have masks.
        results: one an annotation, in their order.
        category_ids: by class id.
    """
    return [
        _object_iou(truth, index, category_ids, index, results[index]["segmentation"])
        for index in range(len(truth.objects))
    ]


def detected_ious(truth: TrueImage, results: Sequence[Result], category_ids: Sequence[Any]) -> list[ObjectIou]:
    """Return the IoU of each object of an image, without its crowds, with the detection that is matched to it.

    Detections are matched by their boxes and category, as `nanoseg.evaluation.miou.match` does; an object that none is
    matched to counts 0.
    """
    indices = [index for index, one in enumerate(truth.objects) if not one.is_crowd]
    matches = match(true_boxes(truth, indices), found_boxes(results, category_ids))
    return [
        _object_iou(truth, index, category_ids, int(found), results[found]["segmentation"] if found >= 0 else None)
        for index, found in zip(indices, matches, strict=True)
    ]


def true_boxes(truth: TrueImage, indices: Sequence[int]) -> Boxes:
    """Return boxes of an image's annotations, as sure as can be."""
    xyxy = np.array([truth.objects[index].xyxy for index in indices], np.float64).reshape(-1, 4)
    class_id = np.array([truth.objects[index].class_id for index in indices], np.int64)
    return Boxes(xyxy, np.ones(len(xyxy), np.float32), class_id)


def found_boxes(results: Sequence[Result], category_ids: Sequence[Any]) -> Boxes:
    """Return the boxes of an image's results."""
    class_of = {category: class_id for class_id, category in enumerate(category_ids)}
    xywh = np.array([one["bbox"] for one in results], np.float64).reshape(-1, 4)
    return Boxes(
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
        np.array([one["score"] for one in results], np.float32),
        np.array([class_of[one["category_id"]] for one in results], np.int64),
    )


def mask_iou(first: Rle, second: Rle) -> float:
    """Return the IoU of two encoded masks of one image; 0 for two empty ones."""
    with needs("pycocotools", "eval"):
        import pycocotools.mask as pycoco_mask
    return float(pycoco_mask.iou([dict(first)], [dict(second)], [0])[0, 0])


def mean_iou_table(objects: Sequence[ObjectIou], category_ids: Sequence[Any]) -> MeanIouTable:
    """Return the means over all objects and over those of each class; `category_ids` are by class id."""
    of_class: dict[Any, list[ObjectIou]] = {number: [] for number in category_ids}
    for one in objects:
        of_class[one.category_id].append(one)
    return MeanIouTable(_means(objects), [_means(some) for some in of_class.values()])


def _means(objects: Sequence[ObjectIou]) -> dict[str, MeanIou]:
    chosen = {"all": [one.iou for one in objects]}
    for name, (least, most) in SIZES.items():
        chosen[name] = [one.iou for one in objects if least <= one.area <= most]
    return {name: MeanIou(float(np.mean(ious)) if ious else None, len(ious)) for name, ious in chosen.items()}


def _object_iou(truth: TrueImage, index: int, category_ids: Sequence[Any], found: int, mask: Rle | None) -> ObjectIou:
    one = truth.objects[index]
    iou = 0.0 if mask is None or one.mask is None else mask_iou(mask, one.mask)
    category = category_ids[one.class_id]
    return ObjectIou(one.id, one.area_px, category, int(one.is_crowd), truth.id, one.xyxy, iou, found)
