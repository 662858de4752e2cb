"""Open scenes: the simulated line, a COCO data set or a folder of images."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import numpy as np

from nanoseg.errors import SourceError, UsageError
from nanoseg.evaluation.coco_scenes import CocoScenes
from nanoseg.evaluation.scenes import Scene, Scenes
from nanoseg.evaluation.simulated_scenes import SimulatedScenes
from nanoseg.sources.image_files import list_images
from nanoseg.sources.images import read_image
from nanoseg.sources.source import MAX_PIXELS

PARTS = "parts://"


class FolderScenes:
    """Images without ground truth: there are no labels, and no scene has boxes.

    A scene raises SourceError where its image cannot be read.
    """

    mirror_symmetric = False
    labels: tuple[str, ...] = ()
    present_labels: frozenset[str] = frozenset()

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Scene:
        image = read_image(self._paths[index % len(self._paths)], MAX_PIXELS)
        no_masks = np.zeros((0, *image.shape[:2]), bool)
        return Scene(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), lambda: no_masks)


def open_scenes(source: str | Path, annotations: Path | None = None) -> Scenes:
    """Open the scenes of a source, with its ground truth where there is one.

    Args:
        source: parts:// for the simulated line, a folder of images, or a glob pattern of images without ground truth.
        annotations: the COCO file of the folder's images; without it they have no ground truth.

    Raises:
        SourceError: there are no images, or the annotations cannot be read.
        UsageError: annotations are given for the simulated line, or it has options.
    """
    text = str(source)
    if text.startswith("parts:"):
        if annotations is not None:
            raise UsageError(
                "--annotations: wanted with a folder of images; the simulated line has its own ground truth"
            )
        if text != PARTS:
            raise UsageError(f"{text}: wanted {PARTS} without options, as every scene is taken from another line")
        return SimulatedScenes()
    folder = Path(text)
    if folder.is_dir():
        return CocoScenes(annotations, folder) if annotations is not None else FolderScenes(list_images(folder).paths)
    if annotations is None and any(mark in text for mark in "*?["):
        if paths := sorted(path for path in map(Path, glob(text, recursive=True)) if path.is_file()):
            return FolderScenes(paths)
        raise SourceError(f"{text}: no file matches this pattern")
    raise SourceError(f"{text}: no such folder; wanted a folder of images, or {PARTS}")
