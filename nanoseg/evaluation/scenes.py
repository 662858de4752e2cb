"""Scenes to learn from, to calibrate on and to be judged by: the simulated line, a COCO data set, a folder of pictures.

A scene is a picture and what stands in it. Scene i of a source is always the same.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nanoseg.errors import SourceError, UsageError, needs, one_line
from nanoseg.sources.images import list_folder, read_image
from nanoseg.sources.simulator.line import LABELS, TEST_SEED, SimulatedLine
from nanoseg.sources.source import MAX_PIXELS

PARTS = "parts://"
VALIDATION_SEED = TEST_SEED - 100_000
# Most of a new line's first frame goes into drawing its parts, so several frames of each are used: eight lines
# side by side, for a batch of one belt's pictures teaches little.
FRAMES_A_LINE, FRAMES_APART, LINES_AT_ONCE = 16, 20, 8
ENDLESS = 1 << 30  # scenes that a simulated source claims to hold
# Several shapes of picture, the demo's most often, so that neither network learns one aspect ratio by heart.
LINE_SIZES_WH = ((640, 480), (640, 480), (640, 480), (640, 360), (480, 640), (512, 512))


class NoMasksError(SourceError):
    """What a picture shows is told by boxes alone."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with its truth, in pixels of that picture."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    xyxy: np.ndarray  # (N, 4) float32
    class_id: np.ndarray  # (N,) int64, into the source's labels
    masks: Callable[[], np.ndarray]  # () -> (N, H, W) bool; called only where wanted: it may raise NoMasksError


class Scenes(Protocol):
    """Where scenes come from; an index beyond the end goes round."""

    labels: tuple[str, ...]  # class names; none where nobody told what the pictures show
    shown: frozenset[str]  # those of them that some scene may have an object of
    mirrored: bool  # whether a mirrored or upside-down scene is as likely as the scene itself

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


class SimulatedScenes:
    """Frames of any number of simulated lines; `validation` draws from lines no training sees.

    The lines that tests and the demo show (seeds from TEST_SEED up) belong to neither.
    """

    mirrored = True

    def __init__(self, validation: bool = False) -> None:
        self.labels, self.shown = tuple(LABELS), frozenset(LABELS)
        self.validation = validation
        self._lines: dict[int, SimulatedLine] = {}

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Scene:
        group, rest = divmod(index, FRAMES_A_LINE * LINES_AT_ONCE)
        step, member = divmod(rest, LINES_AT_ONCE)
        seed = group * LINES_AT_ONCE + member
        if seed not in self._lines:
            # The oldest goes: scenes are asked for in order, or nearly.
            while len(self._lines) >= 2 * LINES_AT_ONCE:
                del self._lines[next(iter(self._lines))]
            self._lines[seed] = self._make_line(seed)
        frame, truth = self._lines[seed].sample(step * FRAMES_APART)
        return Scene(frame.image, truth.xyxy, truth.class_id, lambda: truth.masks)

    @staticmethod
    def index_of(line: int, frame: int) -> int:
        """Where frame 0 to FRAMES_A_LINE - 1 of a line is found, lines counted from 0."""
        group, member = divmod(line, LINES_AT_ONCE)
        return (group * FRAMES_A_LINE + frame) * LINES_AT_ONCE + member

    def _make_line(self, seed: int) -> SimulatedLine:
        if self.validation:
            return SimulatedLine(seed=VALIDATION_SEED + seed)
        size_wh = LINE_SIZES_WH[seed % len(LINE_SIZES_WH)]
        objects = 4 + seed % 5
        return SimulatedLine(seed=seed % VALIDATION_SEED, size_wh=size_wh, objects=objects, part_px=(70, 170))


class CocoScenes:
    """A COCO instance file and its folder of pictures; crowds are left out, pictures without objects stay.

    Its categories are the classes, in the order of their ids, even those that no object has, as other trainers of
    YOLO-NAS count them: some tools list the name of a data set, or what a split of it happens not to show.
    Raises SourceError where the file or a picture cannot be read; a scene's masks raise it where an object's outline
    is none, and NoMasksError where it has none.
    """

    mirrored = False

    def __init__(self, annotations: Path, images: Path) -> None:
        with needs("pycocotools", "eval"):
            from pycocotools.coco import COCO
        if not annotations.is_file():
            raise SourceError(f"{annotations}: wanted a COCO annotation file, found none; give --annotations FILE")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
                self._coco: Any = COCO(str(annotations))
            categories = sorted(self._coco.loadCats(self._coco.getCatIds()), key=lambda category: category["id"])
            self.labels = tuple(str(category["name"]) for category in categories)
            self._class_of = {category["id"]: i for i, category in enumerate(categories)}
            self._check()
            self.shown = frozenset(
                self.labels[self._class_of[a["category_id"]]] for a in self._coco.anns.values() if _is_example(a)
            )
            self._ids: list[int] = sorted(self._coco.getImgIds())
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:  # pycocotools checks little itself
            why = f"'{error.args[0]}' missing" if isinstance(error, KeyError) else str(error)
            raise SourceError(f"{annotations}: wanted COCO instances as JSON, got something else: {why}") from error
        self._annotations, self._folder = annotations, images
        if not self._ids:
            raise SourceError(f"{annotations}: lists no images; wanted at least one")

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Scene:
        image_id = self._ids[index % len(self._ids)]
        # In lists: pycocotools takes an id that is text for a list of letters.
        path = self._folder / self._coco.loadImgs([image_id])[0]["file_name"]
        if not path.is_file():
            raise SourceError(
                f"{path}: wanted a picture named in the annotations, found none; check the folder of pictures"
            )
        image = read_image(path, MAX_PIXELS)
        found = self._coco.loadAnns(self._coco.getAnnIds(imgIds=[image_id]))
        found = [a for a in found if _is_example(a)]
        xywh = np.array([a["bbox"] for a in found], np.float32).reshape(-1, 4)
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        class_id = np.array([self._class_of[a["category_id"]] for a in found], np.int64)
        height, width = image.shape[:2]

        def masks() -> np.ndarray:
            stack = [self._mask(a, path.name, (height, width)) for a in found]
            return np.stack(stack) if stack else np.zeros((0, height, width), bool)

        return Scene(image, xyxy, class_id, masks)

    def _mask(self, annotation: dict[str, Any], picture: str, size_hw: tuple[int, int]) -> np.ndarray:
        """(H, W) bool of one object."""
        where = f"{self._annotations}: object {annotation['id']} in {picture}"
        outline = annotation.get("segmentation")
        if not outline:
            raise NoMasksError(f"{where}: wanted a segmentation, got a box alone; masks cannot be judged by it")
        for side, pixels in zip(("height", "width"), size_hw, strict=True):
            self._coco.imgs[annotation["image_id"]].setdefault(side, pixels)  # files may leave them out
        try:
            mask: np.ndarray = self._coco.annToMask(annotation).astype(bool)
        except Exception as error:  # pycocotools has no errors of its own, and raises whatever it stumbles on
            told = f"{where}: wanted polygons or a run-length code, got something else: {one_line(error)}"
            raise SourceError(told) from error
        if mask.shape != size_hw:
            told, got = (f"{width} x {height}" for height, width in (mask.shape, size_hw))
            raise SourceError(f"{where}: its mask is of a picture of {told} pixels, the file has {got}")
        return mask

    def _check(self) -> None:
        """Raise KeyError or ValueError where a picture or an object does not tell what every scene must have."""
        for image in self._coco.dataset["images"]:
            if not isinstance(image["file_name"], str):
                raise ValueError(f"a picture's file_name is {image['file_name']}, wanted text")
        for annotation in self._coco.dataset.get("annotations", ()):
            if annotation["category_id"] not in self._class_of:
                raise ValueError(
                    f"an object of category {annotation['category_id']}, which is not among its categories"
                )
            box = annotation["bbox"]
            if len(box) != 4 or not all(isinstance(side, int | float) for side in box):
                raise ValueError(f"an object's bbox is {box}, wanted left, top, width, height")


def _is_example(annotation: dict[str, Any]) -> bool:
    """Files of other tools leave `iscrowd` out where there are no crowds."""
    return not annotation.get("iscrowd") and annotation["bbox"][2] >= 1 and annotation["bbox"][3] >= 1


class FolderScenes:
    """Pictures whose objects nobody named: `labels` are none, and no scene has boxes.

    Raises SourceError for a picture that cannot be read.
    """

    mirrored = False
    labels: tuple[str, ...] = ()
    shown: frozenset[str] = frozenset()

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Scene:
        image = read_image(self._paths[index % len(self._paths)], MAX_PIXELS)
        nothing = np.zeros((0, *image.shape[:2]), bool)
        return Scene(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), lambda: nothing)


def classes_by_name(
    labels: Sequence[str], shown: Collection[str], names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Where each of the scenes' labels stands among `names`, (C,) int64, and which that are shown stand nowhere.

    A label that no object has may be missing there, as its number is never asked for: it is -1.
    """
    if tuple(names) == tuple(labels):  # of which two may be the same
        return np.arange(len(names)), []
    classes = [names.index(label) if label in names else -1 for label in labels]
    return np.array(classes, np.int64), [label for label in labels if label in shown and label not in names]


def open_scenes(source: str | Path, annotations: Path | None = None) -> Scenes:
    """`parts://`, the folder of a COCO file's pictures, or a folder or pattern of pictures without truth.

    Raises SourceError where there are no pictures, UsageError for what does not go together.
    """
    text = str(source)
    if text.startswith("parts:"):
        if annotations is not None:
            raise UsageError("--annotations: wanted with a folder of pictures; the simulated line knows its own truth")
        if text != PARTS:
            raise UsageError(f"{text}: wanted {PARTS} alone: every scene is taken from another line")
        return SimulatedScenes()
    folder = Path(text)
    if folder.is_dir():
        return CocoScenes(annotations, folder) if annotations is not None else FolderScenes(list_folder(folder))
    if annotations is None and any(mark in text for mark in "*?["):
        if paths := sorted(path for path in map(Path, glob(text, recursive=True)) if path.is_file()):
            return FolderScenes(paths)
        raise SourceError(f"{text}: no file has such a name")
    raise SourceError(f"{text}: no such folder; wanted a folder of pictures, or {PARTS}")
