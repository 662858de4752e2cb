"""Scenes of a COCO data set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nanoseg.errors import SourceError, needs
from nanoseg.evaluation.coco_file import CocoObject, read_coco_file, with_places
from nanoseg.evaluation.coco_image import read_coco_image
from nanoseg.evaluation.coco_masks import check_segmentation, coco_mask
from nanoseg.evaluation.scenes import Crowds, NoMasksError, Scene

MAX_REPORTED = 5  # lines about objects that were left out, and about those kept all the same


class CocoScenes:
    """The images of a COCO instance file; crowds are apart, images without objects are kept.

    All its categories are classes, in the order of their ids, as other trainers of YOLO-NAS count them: also those
    that no object has, such as the name of a data set, or what a split of it happens not to contain. Objects that
    cannot be right are left out; see `coco_file`. The first of them are logged.

    A scene raises SourceError where its image cannot be read, or is of another size than the file says. Its masks raise
    SourceError where an object's segmentation is invalid, and NoMasksError where it has none.
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
            import pycocotools.mask  # noqa: F401  # masks and mAP need it: said before a large file is read
        content = read_coco_file(annotations)
        self.labels = tuple(content.categories.values())
        self._class_of = {number: i for i, number in enumerate(content.categories)}
        self._images, self._annotations, self._folder = content.images, annotations, images
        self.present_labels = frozenset(
            self.labels[self._class_of[one.category_id]]
            for image in self._images
            for one in image.objects
            if not one.is_crowd
        )
        if not self._images:
            raise SourceError(f"{annotations}: lists no images; wanted at least one")
        self.excluded = len(content.excluded)  # objects
        report_objects(annotations, content.excluded, "left out")
        report_objects(annotations, content.reaching, "kept as it is")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Scene:
        entry = self._images[index % len(self._images)]
        image = read_coco_image(entry, self._folder, self._annotations)
        height, width = image.shape[:2]
        objects = [one for one in entry.objects if not one.is_crowd]
        crowds = [one for one in entry.objects if one.is_crowd]

        def masks() -> np.ndarray:
            stack = [self._mask(one, Path(entry.file_name).name, (height, width)) for one in objects]
            return np.stack(stack) if stack else np.zeros((0, height, width), bool)

        return Scene(image, *self._boxes(objects), masks, Crowds(*self._boxes(crowds)))

    def exclude_invalid_masks(self, indices: Iterable[int]) -> None:
        """Leave out, and tell, the objects of some scenes whose segmentation is invalid; those without one stay.

        Whoever needs all masks calls it first, so that no long measurement ends at one object. Images whose size the
        file does not give are left as they are.
        """
        lines = {}
        for index in indices:
            image = self._images[index % len(self._images)]
            width, height = image.size_wh
            if width is None or height is None:
                continue
            for one in image.objects[:]:
                try:
                    if one.segmentation and not one.is_crowd:
                        check_segmentation(one.segmentation, (height, width))
                except ValueError as error:
                    image.objects.remove(one)
                    lines[one.index] = invalid_mask(one, error)
        self.excluded += len(lines)
        report_objects(self._annotations, with_places(self._annotations, lines), "left out")

    def _boxes(self, objects: list[CocoObject]) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (n, 4), float64 as pycocotools computes with, and class ids (n,)."""
        xywh = np.array([one.bbox for one in objects], np.float64).reshape(-1, 4)
        class_id = np.array([self._class_of[one.category_id] for one in objects], np.int64)
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1), class_id

    def _mask(self, one: CocoObject, image_name: str, size_hw: tuple[int, int]) -> np.ndarray:
        """Return the mask of one object, (H, W) bool."""
        where = f"{self._annotations}: object {one.id!r} in {image_name}"
        if not one.segmentation:
            raise NoMasksError(f"{where}: wanted a segmentation, got a box alone; masks cannot be evaluated by it")
        try:
            return coco_mask(one.segmentation, size_hw)
        except ValueError as error:
            message = f"wanted polygons or a run-length code, got something else: {error}"
            raise SourceError(f"{where}: {message}") from error


def invalid_mask(one: CocoObject, error: ValueError) -> str:
    """Return what to tell of an object whose segmentation `check_segmentation` refused."""
    return f"object {one.id!r}: wanted polygons or a run-length code, got something else: {error}"


def report_objects(annotations: Path, lines: Sequence[str], outcome: str) -> None:
    """Log what was noticed about objects: the first lines, then how many more there are."""
    log = logging.getLogger("nanoseg")
    for line in lines[:MAX_REPORTED]:
        log.warning("%s: %s; it is %s", annotations, line, outcome)
    if len(lines) > MAX_REPORTED:
        log.warning("%s: the same of %d more objects: each is %s", annotations, len(lines) - MAX_REPORTED, outcome)
