"""The figures of an evaluation, computed from its results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanoseg.evaluation.coco_scores import CocoScores, coco_scores
from nanoseg.evaluation.coco_truth import CocoTruth
from nanoseg.evaluation.evaluate_coco import EvalSettings
from nanoseg.evaluation.object_ious import (
    MeanIouTable,
    ObjectIou,
    Result,
    detected_ious,
    mean_iou_table,
    prompted_ious,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of all images, and what was computed from them."""

    truth: CocoTruth
    results: Mapping[Any, Sequence[Result]]  # by image id
    objects: Sequence[ObjectIou]  # empty where the truth has no masks
    miou: MeanIouTable | None  # None where the truth has no masks
    box: CocoScores | None  # None where the truth's boxes were the prompts
    mask: CocoScores | None  # likewise, and where the truth has no masks
    keypoints: CocoScores | None = None  # None where the truth or the bundle has none

    def to_json(self) -> dict[str, Any]:
        """Return the figures: box, mask and miou over all, and those of each category that has objects or results."""
        ious, counts = self.miou, [0] * len(self.truth.labels)
        for image in self.truth.images:
            for one in image.objects:
                counts[one.class_id] += not one.is_crowd
        found = {one["category_id"] for results in self.results.values() for one in results}
        categories = [
            {
                "id": category,
                "name": name,
                "objects": counts[class_id],
                "box": self.box and self.box.by_class[class_id],
                "mask": self.mask and self.mask.by_class[class_id],
                "miou": ious and _rows(ious.by_class[class_id]),
            }
            for class_id, (category, name) in enumerate(zip(self.truth.category_ids, self.truth.labels, strict=True))
            if counts[class_id] or category in found
        ]
        return {
            "box": self.box and self.box.overall,
            "mask": self.mask and self.mask.overall,
            "keypoints": self.keypoints and self.keypoints.overall,
            "miou": ious and _rows(ious.overall),
            "categories": categories,
        }


def evaluate(
    truth: CocoTruth,
    results: Mapping[Any, Sequence[Result]],
    settings: EvalSettings,
    confidence: float,
    sigmas: Sequence[float] | None = None,
) -> Evaluation:
    """Compare results with the ground truth.

    Args:
        truth: the ground truth.
        results: of each of its images, by the image's id, as `run_images` makes them.
        settings: what they were made with.
        confidence: the bundle's threshold: of detections only those count for the mean IoU that it would return.
        sigmas: see `oks_sigmas`; None: keypoints are not compared.
    """
    with_masks = truth.without_mask is None
    if settings.prompts == "truth":
        objects = [one for image in truth.images for one in prompted_ious(image, results[image.id], truth.category_ids)]
        return Evaluation(truth, results, objects, mean_iou_table(objects, truth.category_ids), None, None)
    every = [one for image in truth.images for one in results[image.id]]
    box = coco_scores(truth, every, "bbox")
    keypoints = None if sigmas is None else coco_scores(truth, every, "keypoints", sigmas)
    if not with_masks:
        return Evaluation(truth, results, [], None, box, None, keypoints)
    objects = [
        one
        for image in truth.images
        for one in detected_ious(image, confident(results[image.id], confidence), truth.category_ids)
    ]
    table = mean_iou_table(objects, truth.category_ids)
    return Evaluation(truth, results, objects, table, box, coco_scores(truth, every, "segm"), keypoints)


def confident(results: Sequence[Result], confidence: float) -> list[Result]:
    """Return the results above this confidence, which are the first ones."""
    return [one for one in results if one["score"] > confidence]


def _rows(means: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: mean._asdict() for name, mean in means.items()}
