"""Evaluate a segmenter on a COCO data set: its masks of ground-truth boxes, or its own detections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nanoseg.bundle import Bundle
from nanoseg.errors import BundleError, SourceError
from nanoseg.evaluation.coco_image import read_coco_image
from nanoseg.evaluation.coco_truth import CocoTruth, TrueImage
from nanoseg.evaluation.result_log import ResultLog
from nanoseg.evaluation.scenes import NoMasksError, match_labels
from nanoseg.processing.embedding import Embedding
from nanoseg.segmenter import Segmenter
from nanoseg.types import Detections

PromptKind = Literal["truth", "detected"]
Result = Mapping[str, Any]  # one detection in COCO's form of results


@dataclass(frozen=True)
class EvalSettings:
    """What results depend on beside the bundle, its backend and the images."""

    prompts: PromptKind
    confidence: float  # of detections
    iou: float  # of the detector's NMS


@dataclass(frozen=True)
class ClassMap:
    """The categories of a data set and the classes of a bundle, matched by name."""

    category_ids: Mapping[int, Any]  # by the bundle's class id
    unknown: tuple[str, ...]  # categories of which there are objects, and which the bundle has not

    @classmethod
    def of(cls, truth: CocoTruth, segmenter: Segmenter) -> ClassMap:
        """Match the classes.

        Raises:
            BundleError: none of the objects' categories is a class of the bundle.
            SourceError: objects of two categories of one name, which is one class of the bundle.
        """
        bundle = segmenter.bundle
        class_ids, unknown = match_labels(truth.labels, truth.present_labels, bundle.labels)
        if truth.present_labels and len(unknown) == len(truth.present_labels):
            raise BundleError(
                f"{bundle.path}: knows no category of {truth.annotations.name}, such as {unknown[0]}; measure it on "
                "labelled images of its own classes, or its masks alone: --prompts truth"
            )
        pairs = zip(class_ids.tolist(), truth.category_ids, strict=True)
        category_ids = {class_id: category for class_id, category in pairs if class_id >= 0}
        for number in sorted({one.class_id for image in truth.images for one in image.objects}):
            category, kept = truth.category_ids[number], category_ids.get(int(class_ids[number]))
            if kept not in (None, category):  # some exporters list a name twice, the first time without objects
                raise SourceError(
                    f"{truth.annotations}: wanted each category's name once, got {truth.labels[number]!r} of the "
                    f"categories {category!r} and {kept!r}, and the bundle has one class of it"
                )
        return cls(category_ids, tuple(unknown))


def check_masks(truth: CocoTruth) -> None:
    """Raise NoMasksError where an annotation has a box alone: a mask cannot be compared with it."""
    if (one := truth.without_mask) is not None:
        raise NoMasksError(
            f"{truth.annotations}: object {one.id!r}: wanted a segmentation, got a box alone; masks cannot be "
            "evaluated by it: --prompts detected evaluates boxes"
        )


def oks_sigmas(truth: CocoTruth, bundle: Bundle) -> list[float] | None:
    """Return the sigmas with which a bundle's keypoints are compared with the truth's; None where that cannot be.

    Raises:
        BundleError: the bundle has another number of keypoints than the truth.
    """
    keypoints = bundle.keypoints
    if keypoints is None or not keypoints.sigmas:
        return None
    every = [one for image in truth.images for one in image.objects if one.keypoints is not None]
    for one in every:
        if one.keypoints is not None and len(one.keypoints) != 3 * len(keypoints.names):
            raise BundleError(
                f"{bundle.path}: finds {len(keypoints.names)} keypoints, but object {one.id!r} of "
                f"{truth.annotations.name} has {len(one.keypoints) // 3}; evaluate it on objects like its own"
            )
    return list(keypoints.sigmas) if every else None


def run_images(
    segmenter: Segmenter,
    truth: CocoTruth,
    images: Path,
    settings: EvalSettings,
    log: ResultLog,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Add the results of those images to a log that it has none of.

    Prompted by the truth, an image has one result an annotation, in their order, crowds included: the mask of its box,
    unlimited, with the predicted IoU as the score. Else its results are the detections, most confident first.

    Args:
        segmenter: finds and segments objects.
        truth: the data set.
        images: the folder of its images.
        settings: how to run them.
        log: where the results go.
        advance: called after each image.

    Raises:
        BundleError: detections are wanted, and the bundle knows no category of the objects.
        NoMasksError: prompts are the truth's, and an annotation has no mask.
        SourceError: an image cannot be read, or detections are wanted and two categories are one class.
        EngineError: a graph fails.
    """
    if settings.prompts == "truth":
        check_masks(truth)
    classes = None if settings.prompts == "truth" else ClassMap.of(truth, segmenter)
    for image in truth.images:
        if image.id in log.results:
            continue
        pixels = read_coco_image(image.entry, images, truth.annotations)
        if classes is None:
            log.add(image.id, _prompted(segmenter, pixels, image, truth))
        else:
            log.add(image.id, _detected(segmenter, pixels, image, classes, settings))
        advance()


def _prompted(segmenter: Segmenter, pixels: np.ndarray, image: TrueImage, truth: CocoTruth) -> list[Result]:
    if not image.objects:
        return []
    boxes, embedding = np.array([one.xyxy for one in image.objects]), segmenter.embed(pixels)
    geometry = embedding.geometry
    if geometry.resize == "nanosam":
        # NanoSAM scales boxes in float64; the graph does in float32, which moves a pixel of a mask now and then.
        boxes = boxes * (geometry.encoder_px / max(geometry.frame_hw))
        embedding = Embedding(embedding.handle, replace(geometry, encoder_scale=(1.0, 1.0)))
    masks = segmenter.segment(embedding, boxes=boxes)
    return [
        {
            "image_id": image.id,
            "category_id": truth.category_ids[one.class_id],
            "bbox": list(one.xywh),
            "score": float(score),
            "segmentation": mask,
            "object_id": one.id,
        }
        for one, score, mask in zip(image.objects, masks.confidence, masks.rles(), strict=True)
    ]


def _detected(
    segmenter: Segmenter, pixels: np.ndarray, image: TrueImage, classes: ClassMap, settings: EvalSettings
) -> list[Result]:
    if not classes.category_ids:  # no object in any image, of any class
        return []
    found: Detections = segmenter(
        pixels, confidence=settings.confidence, iou=settings.iou, classes=list(classes.category_ids)
    )
    corners = found.xyxy.astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist()
    rows: Sequence[tuple[int, list[float], float, dict[str, Any]]] = list(
        zip(found.class_id.tolist(), boxes, found.confidence.tolist(), found.masks.rles(), strict=True)
    )
    keypoints = [] if found.keypoints is None else found.keypoints.reshape(len(found), -1).tolist()
    return [
        {
            "image_id": image.id,
            "category_id": classes.category_ids[class_id],
            "bbox": box,
            "score": score,
            "segmentation": mask,
            **({"keypoints": keypoints[index]} if keypoints else {}),
        }
        for index, (class_id, box, score, mask) in enumerate(rows)
    ]
