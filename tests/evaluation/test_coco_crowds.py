"""What is called COCO's mAP is pycocotools' own to the last digit, crowds included."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
coco = pytest.importorskip("nanoseg.evaluation.coco", reason="needs pycocotools", exc_type=ImportError)

from nanoseg.evaluation.coco_scenes import CocoScenes  # noqa: E402

SIZE = 400


def pycocotools_map(annotations: Path, results: list[dict[str, object]]) -> tuple[float, float]:
    """The usual way: a file, a list of results, all twelve figures."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def compare(annotations: Path, images: Path, detect) -> tuple[float, float]:
    """Hold our figures to pycocotools' and return them; `detect` makes (boxes, classes, scores) of a scene."""
    scenes = CocoScenes(annotations, images)
    content = json.loads(annotations.read_text())
    image_ids = sorted(image["id"] for image in content["images"])
    category_ids = sorted(category["id"] for category in content["categories"])
    truths, found, results = [], [], []
    for index, image_id in enumerate(image_ids):
        scene = scenes[index]
        xyxy, class_id, confidence = (np.asarray(each) for each in detect(scene, index))
        truths.append(scene)
        xyxy, confidence = xyxy.reshape(-1, 4).astype(np.float32), confidence.astype(np.float32)
        found.append(SimpleNamespace(xyxy=xyxy, class_id=class_id.astype(np.int64), confidence=confidence))
        for (left, top, right, bottom), kind, score in zip(
            xyxy.tolist(), found[-1].class_id.tolist(), confidence.tolist(), strict=True
        ):
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": image_id, "category_id": category_ids[kind], "bbox": box, "score": score})
    ours = coco.coco_map(truths, found)
    assert tuple(ours) == pycocotools_map(annotations, results)
    return ours


@pytest.mark.parametrize("seed", range(3))
def test_coco_map_of_photographs_equals_pycocotools(seed: int, shared: Path) -> None:
    folder = shared / "coco-mini" / "instances"
    if not folder.is_dir():
        pytest.skip("needs the photographs of ../shared/coco-mini")
    rng = np.random.default_rng(seed)

    def detect(scene, index):
        boxes, classes = [scene.xyxy, scene.crowds.xyxy], [scene.class_id, scene.crowds.class_id]
        for crowd, kind in zip(scene.crowds.xyxy, scene.crowds.class_id, strict=True):
            corner = rng.uniform(crowd[:2], crowd[2:], (12, 2))  # single objects within a crowd
            boxes.append(np.concatenate([corner, corner + rng.uniform(5, 60, (12, 2))], 1))
            classes.append(np.full(12, kind))
        corner = rng.uniform(0, 400, (90, 2))
        boxes.append(np.concatenate([corner, corner + rng.uniform(5, 200, (90, 2))], 1))
        classes.append(rng.integers(0, 80, 90))
        xyxy = np.concatenate(boxes)
        xyxy = xyxy + rng.normal(0, 3, xyxy.shape)
        scores = rng.integers(1, 12, len(xyxy)) / 12  # many are equal
        return xyxy, np.concatenate(classes), scores

    map50_95, map50 = compare(folder / "train.json", folder / "train", detect)
    assert 0.02 < map50_95 < map50 < 1


def image_file(folder: Path, count: int) -> list[dict[str, object]]:
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((SIZE, SIZE, 3), np.uint8))
    return [{"id": 10 + number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE} for number in range(count)]


def truth_of(image: int, category: int, box: list[float], crowd: int = 0, **more: object) -> dict[str, object]:
    area = box[2] * box[3]
    return {"image_id": 10 + image, "category_id": category, "bbox": box, "iscrowd": crowd, "area": area, **more}


GRID = [[float(x), float(y), 20.0, 20.0] for x in range(0, SIZE, 30) for y in range(0, SIZE, 30)]
# Truth as (image, category, left top width height, crowd); found as (image, class, xyxy, score).
HARD = {
    "boxes on a crowd": (
        [truth_of(0, 1, [0, 0, 200, 200], 1), truth_of(0, 1, [250, 250, 50, 50])],
        [(0, 0, [10, 10, 60, 60], 0.9), (0, 0, [70, 70, 120, 120], 0.8), (0, 0, [250, 250, 300, 300], 0.5)],
    ),
    "a box half on a crowd": (
        [truth_of(0, 1, [0, 0, 100, 100], 1), truth_of(0, 1, [200, 0, 50, 50])],
        [(0, 0, [50, 0, 150, 100], 0.9), (0, 0, [200, 0, 250, 50], 0.7)],
    ),
    "a crowd of another class": (
        [truth_of(0, 1, [0, 0, 200, 200], 1), truth_of(0, 2, [250, 250, 50, 50])],
        [(0, 1, [10, 10, 60, 60], 0.9), (0, 1, [250, 250, 300, 300], 0.5)],
    ),
    "an object within a crowd": (
        [truth_of(0, 1, [0, 0, 200, 200], 1), truth_of(0, 1, [20, 20, 50, 50])],
        [(0, 0, [20, 20, 70, 70], 0.9), (0, 0, [20, 20, 70, 70], 0.8), (0, 0, [90, 90, 120, 130], 0.7)],
    ),
    "a crowd where nothing is found": (
        [truth_of(0, 1, [0, 0, 200, 200], 1), truth_of(0, 1, [250, 250, 50, 50])],
        [(0, 0, [250, 250, 300, 300], 0.5)],
    ),
    "a crowd alone in its image": (
        [truth_of(1, 1, [0, 0, 200, 200], 1), truth_of(0, 1, [250, 250, 50, 50])],
        [(1, 0, [10, 10, 60, 60], 0.9), (0, 0, [250, 250, 300, 300], 0.5)],
    ),
    "a class of crowds alone": (
        [truth_of(0, 1, [0, 0, 200, 200], 1), truth_of(0, 2, [250, 250, 50, 50])],
        [(0, 0, [10, 10, 60, 60], 0.9), (0, 1, [250, 250, 300, 300], 0.5)],
    ),
    "images without objects": (
        [truth_of(0, 1, [0, 0, 50, 50])],
        [(0, 0, [0, 0, 50, 50], 0.5), (2, 0, [0, 0, 50, 50], 0.9), (1, 1, [0, 0, 50, 50], 0.9)],
    ),
    "more than a hundred boxes": (
        [truth_of(0, 1, box) for box in GRID],
        [
            (0, 0, [x + i % 3, y, x + 20, y + 20], (i * 7919 % len(GRID)) / len(GRID))
            for i, (x, y, _, _) in enumerate(GRID)
        ],
    ),
    "equal scores": (
        [truth_of(0, 1, [0, 0, 100, 100]), truth_of(1, 1, [0, 0, 100, 100])],
        [(0, 0, [200, 200, 300, 300], 0.5), (1, 0, [0, 0, 100, 100], 0.5), (0, 0, [0, 0, 100, 100], 0.5)],
    ),
    "IoU at a threshold": (
        [truth_of(0, 1, [0, 0, 100, 100]), truth_of(0, 2, [0.1, 0.1, 8.0, 10.0])],
        [(0, 0, [0, 0, 100, 50], 0.9), (0, 1, [0.1, 0.1, 8.1, 7.6], 0.9)],
    ),
    "smaller than a pixel": (
        [truth_of(0, 1, [5, 5, 0.5, 0.5]), truth_of(0, 1, [50, 50, 20, 20])],
        [(0, 0, [5, 5, 5.5, 5.5], 0.9), (0, 0, [50, 50, 70, 70], 0.8)],
    ),
}


@pytest.mark.parametrize("name", HARD)
def test_coco_map_of_hard_cases_equals_pycocotools(name: str, tmp_path: Path) -> None:
    truth, found = HARD[name]
    content = {
        "info": {},
        "images": image_file(tmp_path, 3),
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
        "annotations": [{**one, "id": i} for i, one in enumerate(truth, 1)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))

    def detect(scene, index):
        mine = [(box, kind, score) for image, kind, box, score in found if image == index]
        return zip(*mine, strict=True) if mine else ([], [], [])

    compare(tmp_path / "a.json", tmp_path, detect)
