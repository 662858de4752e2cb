"""Scenes of a COCO data set."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.errors import SourceError, needs, one_line
from nanoseg.evaluation.scenes import NoMasksError, Scene
from nanoseg.sources.images import read_image
from nanoseg.sources.source import MAX_PIXELS


class CocoScenes:
    """The images of a COCO instance file; crowds are left out, images without objects are kept.

    All its categories are classes, in the order of their ids, as other trainers of YOLO-NAS count them: also those
    that no object has, such as the name of a data set, or what a split of it happens not to contain.

    A scene raises SourceError where its image cannot be read. Its masks raise SourceError where an object's
    segmentation is invalid, and NoMasksError where it has none.
    """

    mirror_symmetric = False

    def __init__(self, annotations: Path, images: Path) -> None:
        """Read the annotations.

        Args:
            annotations: the COCO file.
            images: the folder of its images.

        Raises:
            SourceError: the file cannot be read, or is not a COCO instance file.
        """
        with needs("pycocotools", "eval"):
            from pycocotools.coco import COCO
        if not annotations.is_file():
            raise SourceError(f"{annotations}: wanted a COCO annotation file, found none; give --annotations FILE")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
                self._coco: Any = COCO(str(annotations))
            categories = sorted(self._coco.loadCats(self._coco.getCatIds()), key=lambda category: category["id"])
            self.labels = tuple(str(category["name"]) for category in categories)
            self._class_of = {category["id"]: i for i, category in enumerate(categories)}
            self._check()
            self.present_labels = frozenset(
                self.labels[self._class_of[a["category_id"]]] for a in self._coco.anns.values() if _is_example(a)
            )
            self._ids: list[int] = sorted(self._coco.getImgIds())
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:  # pycocotools checks little
            reason = f"'{error.args[0]}' missing" if isinstance(error, KeyError) else str(error)
            raise SourceError(f"{annotations}: wanted COCO instances as JSON, got something else: {reason}") from error
        self._annotations, self._folder = annotations, images
        if not self._ids:
            raise SourceError(f"{annotations}: lists no images; wanted at least one")

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Scene:
        image_id = self._ids[index % len(self._ids)]
        # In a list, as pycocotools takes a text id for a list of letters.
        path = self._folder / self._coco.loadImgs([image_id])[0]["file_name"]
        if not path.is_file():
            raise SourceError(
                f"{path}: wanted an image named in the annotations, found none; check --images, the folder of images"
            )
        image = read_image(path, MAX_PIXELS)
        objects = self._coco.loadAnns(self._coco.getAnnIds(imgIds=[image_id]))
        objects = [a for a in objects if _is_example(a)]
        xywh = np.array([a["bbox"] for a in objects], np.float32).reshape(-1, 4)
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        class_id = np.array([self._class_of[a["category_id"]] for a in objects], np.int64)
        height, width = image.shape[:2]

        def masks() -> np.ndarray:
            stack = [self._mask(a, path.name, (height, width)) for a in objects]
            return np.stack(stack) if stack else np.zeros((0, height, width), bool)

        return Scene(image, xyxy, class_id, masks)

    def _mask(self, annotation: dict[str, Any], image_name: str, size_hw: tuple[int, int]) -> np.ndarray:
        """Return the mask of one object, (H, W) bool."""
        where = f"{self._annotations}: object {annotation['id']} in {image_name}"
        if not annotation.get("segmentation"):
            raise NoMasksError(f"{where}: wanted a segmentation, got a box alone; masks cannot be evaluated by it")
        for side, pixels in zip(("height", "width"), size_hw, strict=True):
            self._coco.imgs[annotation["image_id"]].setdefault(side, pixels)  # optional in the file
        try:
            mask: np.ndarray = self._coco.annToMask(annotation).astype(bool)
        except Exception as error:  # pycocotools has no errors of its own, and raises anything
            message = f"wanted polygons or a run-length code, got something else: {one_line(error)}"
            raise SourceError(f"{where}: {message}") from error
        if mask.shape != size_hw:
            mask_size, image_size = (f"{width} x {height}" for height, width in (mask.shape, size_hw))
            raise SourceError(f"{where}: its mask is of an image of {mask_size} pixels, the file has {image_size}")
        return mask

    def _check(self) -> None:
        """Raise KeyError or ValueError where an image or an object lacks what every scene needs."""
        for image in self._coco.dataset["images"]:
            if not isinstance(image["file_name"], str):
                raise ValueError(f"an image's file_name is {image['file_name']}, wanted text")
        for annotation in self._coco.dataset.get("annotations", ()):
            if annotation["category_id"] not in self._class_of:
                raise ValueError(
                    f"an object of category {annotation['category_id']}, which is not among its categories"
                )
            box = annotation["bbox"]
            if len(box) != 4 or not all(isinstance(side, int | float) for side in box):
                raise ValueError(f"an object's bbox is {box}, wanted left, top, width, height")


def _is_example(annotation: dict[str, Any]) -> bool:
    """Return whether an annotation is a single object; some tools omit `iscrowd` where there are no crowds."""
    return not annotation.get("iscrowd") and annotation["bbox"][2] >= 1 and annotation["bbox"][3] >= 1
