"""The ground truth of a COCO data set, crowds included, in the form that its evaluation takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoseg.errors import SourceError, needs
from nanoseg.evaluation.coco_file import CocoImage, CocoObject, Id, read_coco_file, with_places
from nanoseg.evaluation.coco_image import find_coco_image
from nanoseg.evaluation.coco_masks import coco_rle
from nanoseg.evaluation.coco_scenes import invalid_mask, report_objects

Rle = Mapping[str, Any]  # {"size": [H, W], "counts": text}


@dataclass(frozen=True, eq=False)
class TrueObject:
    """One annotation: an object, or a crowd."""

    id: Id
    class_id: int  # index into the labels
    xywh: tuple[float, float, float, float]  # left, top, width, height in pixels of the image
    area_px: float  # as the file says; else of the mask, or of the box
    is_crowd: bool
    mask: Rle | None  # None: a box alone
    keypoints: tuple[float, ...] | None = None  # x, y, visibility of each: 0 unknown, 1 hidden, 2 visible

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        left, top, width, height = self.xywh
        return left, top, left + width, top + height


@dataclass(frozen=True, eq=False)
class TrueImage:
    """One image and its annotations, in the file's order."""

    entry: CocoImage
    objects: tuple[TrueObject, ...]

    @property
    def id(self) -> Id:
        """The image's id in the file."""
        return self.entry.id


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """Images of a COCO file with their annotations."""

    annotations: Path
    labels: tuple[str, ...]  # names of the categories, in the order of their ids
    category_ids: tuple[Id, ...]  # by class id
    images: tuple[TrueImage, ...]  # in the order of their ids
    excluded: int  # annotations that cannot be right

    @property
    def present_labels(self) -> frozenset[str]:
        """Names of the categories of which there are objects, crowds not counted."""
        return frozenset(
            self.labels[one.class_id] for image in self.images for one in image.objects if not one.is_crowd
        )

    @property
    def without_mask(self) -> TrueObject | None:
        """The first annotation that has a box alone."""
        return next((one for image in self.images for one in image.objects if one.mask is None), None)


def read_coco_truth(annotations: Path, images: Path, limit: int | None = None) -> CocoTruth:
    """Read the annotations of a COCO file's first images, and see that each image is there.

    Annotations that cannot be right are left out, and the first of them logged.

    Args:
        annotations: the COCO file.
        images: the folder of its images.
        limit: the number of images, at most; those of the lowest ids are taken.

    Raises:
        SourceError: the file cannot be read, has another form or no images, or an image is not there.
    """
    with needs("pycocotools", "eval"):
        import pycocotools.mask  # noqa: F401 - said before a large file is read
    content = read_coco_file(annotations)
    if not content.images:
        raise SourceError(f"{annotations}: lists no images; wanted at least one")
    report_objects(annotations, content.excluded, "left out")
    report_objects(annotations, content.reaching, "kept as it is")
    class_of = {number: i for i, number in enumerate(content.categories)}
    invalid: dict[int, str] = {}
    chosen = []
    for entry in content.images[:limit]:
        find_coco_image(entry, images)
        objects = []
        for one in entry.objects:
            try:
                objects.append(_object(one, class_of[one.category_id], entry, annotations))
            except ValueError as error:
                invalid[one.index] = invalid_mask(one, error)
        chosen.append(TrueImage(entry, tuple(objects)))
    report_objects(annotations, with_places(annotations, invalid), "left out")
    return CocoTruth(
        annotations,
        tuple(content.categories.values()),
        tuple(content.categories),
        tuple(chosen),
        len(content.excluded) + len(invalid),
    )


def _object(one: CocoObject, class_id: int, entry: CocoImage, annotations: Path) -> TrueObject:
    """Return an object with its mask; raises ValueError where its segmentation is invalid."""
    import pycocotools.mask as pycoco_mask

    mask = coco_rle(one.segmentation, _size_hw(entry, annotations)) if one.segmentation else None
    area_px = one.area_px
    if area_px is None:
        area_px = one.bbox[2] * one.bbox[3] if mask is None else float(pycoco_mask.area(mask))
    return TrueObject(one.id, class_id, one.bbox, area_px, one.is_crowd, mask, one.keypoints)


def _size_hw(entry: CocoImage, annotations: Path) -> tuple[int, int]:
    width, height = entry.size_wh
    if width is None or height is None:
        raise SourceError(f"{annotations}: image {entry.id!r}: wanted its width and height, which its masks are of")
    return height, width
