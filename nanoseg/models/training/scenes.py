"""Scenes to learn from: the simulated line, or any dataset in COCO's format.

A scene is a picture and what stands in it. Scene i of a source is always the same, so a training run
that is resumed goes on with the data it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from nanoseg.errors import SourceError, needs
from nanoseg.sources.parts import LABELS, TEST_SEED, Line

VALIDATION_SEED = TEST_SEED - 100_000
# Most of a new line's first frame goes into drawing its parts, so several frames of each are used: eight lines
# side by side, for a batch of one belt's pictures teaches little.
FRAMES_A_LINE, FRAMES_APART, LINES_AT_ONCE = 16, 20, 8
ENDLESS = 1 << 30  # scenes that a simulated source claims to hold
# Several shapes of picture, the demo's most often, so that neither network learns one aspect ratio by heart.
LINE_SIZES_WH = ((640, 480), (640, 480), (640, 480), (640, 360), (480, 640), (512, 512))


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with its truth, in pixels of that picture."""

    image: np.ndarray  # (H, W, 3) uint8, BGR
    xyxy: np.ndarray  # (N, 4) float32
    class_id: np.ndarray  # (N,) int64, into the source's labels
    masks: Callable[[], np.ndarray]  # () -> (N, H, W) bool; called only where masks are learnt


class Scenes(Protocol):
    """Where scenes come from; an index beyond the end goes round."""

    labels: tuple[str, ...]
    mirrored: bool  # whether a mirrored or upside-down scene is as likely as the scene itself

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


class SimulatedScenes:
    """Frames of any number of simulated lines; `validation` draws from lines no training sees.

    The lines that tests and the demo show (seeds from TEST_SEED up) belong to neither.
    """

    mirrored = True

    def __init__(self, validation: bool = False) -> None:
        self.labels = tuple(LABELS)
        self.validation = validation
        self._lines: dict[int, Line] = {}

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

    def _make_line(self, seed: int) -> Line:
        if self.validation:
            return Line(seed=VALIDATION_SEED + seed)
        size_wh = LINE_SIZES_WH[seed % len(LINE_SIZES_WH)]
        objects = 4 + seed % 5
        return Line(seed=seed % VALIDATION_SEED, size_wh=size_wh, objects=objects, part_px=(70, 170))


class CocoScenes:
    """A COCO instance file and its folder of pictures; crowds are left out, pictures without objects stay.

    Raises SourceError where the file or a picture cannot be read.
    """

    mirrored = False

    def __init__(self, annotations: Path, images: Path) -> None:
        with needs("pycocotools", "train"):
            from pycocotools.coco import COCO
        if not annotations.is_file():
            raise SourceError(f"{annotations}: wanted a COCO annotation file, found none; give --annotations FILE")
        try:
            self._coco: Any = COCO(str(annotations))
        except (ValueError, KeyError, TypeError, AssertionError) as error:  # pycocotools checks little itself
            raise SourceError(f"{annotations}: wanted COCO instances as JSON, got something else: {error}") from error
        self._folder = images
        self._ids: list[int] = sorted(self._coco.getImgIds())
        if not self._ids:
            raise SourceError(f"{annotations}: lists no images; training needs at least one")
        categories = sorted(self._coco.loadCats(self._coco.getCatIds()), key=lambda category: category["id"])
        self.labels = tuple(str(category["name"]) for category in categories)
        self._class_of = {category["id"]: i for i, category in enumerate(categories)}

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Scene:
        image_id = self._ids[index % len(self._ids)]
        path = self._folder / self._coco.loadImgs(image_id)[0]["file_name"]
        image = cv2.imread(str(path))
        if image is None:
            raise SourceError(f"{path}: wanted a picture named in the annotations, could not read one; check --images")
        found = self._coco.loadAnns(self._coco.getAnnIds(imgIds=image_id))
        # Files of other tools leave `iscrowd` out where there are no crowds.
        found = [a for a in found if not a.get("iscrowd") and a["bbox"][2] >= 1 and a["bbox"][3] >= 1]
        xywh = np.array([a["bbox"] for a in found], np.float32).reshape(-1, 4)
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        class_id = np.array([self._class_of[a["category_id"]] for a in found], np.int64)
        height, width = image.shape[:2]

        def masks() -> np.ndarray:
            stack = [self._coco.annToMask(a).astype(bool) for a in found]
            return np.stack(stack) if stack else np.zeros((0, height, width), bool)

        return Scene(image, xyxy, class_id, masks)


def indices(scenes: Scenes, step: int, size: int, seed: int) -> list[int]:
    """Which scenes the batch of `size` of a step holds.

    The order within an epoch is shuffled by the seed where the scenes are a data set that ends; lines are simulated
    in order, several frames of one after another.
    """
    count, found = len(scenes), []
    for place in range(step * size, (step + 1) * size):
        epoch, position = divmod(place, count)
        found.append(epoch * count + (position if count >= ENDLESS else _shuffled(seed, epoch, count)[position]))
    return found


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, count: int) -> list[int]:
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def mirror(scene: Scene, horizontal: bool, vertical: bool) -> Scene:
    """The scene mirrored left to right, top to bottom, or both."""
    height, width = scene.image.shape[:2]
    xyxy, rows, columns = scene.xyxy.copy(), slice(None), slice(None)
    if horizontal:
        xyxy[:, [0, 2]], columns = width - xyxy[:, [2, 0]], slice(None, None, -1)
    if vertical:
        xyxy[:, [1, 3]], rows = height - xyxy[:, [3, 1]], slice(None, None, -1)
    image = np.ascontiguousarray(scene.image[rows, columns])
    return Scene(image, xyxy, scene.class_id, lambda: scene.masks()[:, rows, columns])


def relight(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and colour balance changed a little: each channel scaled, all shifted."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
    table = np.arange(256, dtype=np.float32)[:, None] * gain + rng.uniform(-18, 18)
    lut = np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return np.asarray(cv2.LUT(image, lut))
