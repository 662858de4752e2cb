"""The picture of an image of a COCO file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nanoseg.errors import SourceError
from nanoseg.evaluation.coco_file import CocoImage
from nanoseg.sources.images import read_image
from nanoseg.sources.source import MAX_PIXELS


def find_coco_image(entry: CocoImage, folder: Path) -> Path:
    """Return the path of an image's file; raises SourceError where there is none."""
    path = folder / entry.file_name
    if not os.path.isfile(path):  # Path.is_file raises where the name is longer than one can be
        raise SourceError(
            f"{path}: wanted an image named in the annotations, found none; check --images, the folder of images"
        )
    return path


def read_coco_image(entry: CocoImage, folder: Path, annotations: Path) -> np.ndarray:
    """Read an image of a COCO file.

    Args:
        entry: the image.
        folder: the folder of the file's images.
        annotations: the COCO file, for messages.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        SourceError: it cannot be read, or has another size than the COCO file says.
    """
    path = find_coco_image(entry, folder)
    image = read_image(path, MAX_PIXELS)
    height, width = image.shape[:2]
    if any(wanted not in (None, got) for wanted, got in zip(entry.size_wh, (width, height), strict=True)):
        wanted = " x ".join("any" if side is None else str(side) for side in entry.size_wh)
        turned = "; it may have been turned" if entry.size_wh == (height, width) else ""
        raise SourceError(
            f"{annotations}: image {entry.id!r}: wanted {wanted} pixels in {path.name}, got "
            f"{width} x {height}{turned}; give the images that were annotated"
        )
    return image
