"""COCO's mAP against cases worked out by hand, and against pycocotools' own reading of a file."""

import json

import numpy as np
import pytest

from nanoseg.errors import UsageError
from tests.evaluation.boxes import FAR, NEAR_A, A, B, boxes

coco = pytest.importorskip("nanoseg.evaluation.coco", reason="needs pycocotools", exc_type=ImportError)


# truth, found -> map50_95, map50
CASES = {
    "all found": ([(A, 0), (B, 1)], [(A, 0, 0.9), (B, 1, 0.8)], 1.0, 1.0),
    "none found": ([(A, 0)], [], 0.0, 0.0),
    "wrong class": ([(A, 0)], [(A, 1, 0.9)], 0.0, 0.0),
    "one of two classes": ([(A, 0), (B, 1)], [(A, 0, 0.9)], 0.5, 0.5),
    "loose box": ([(A, 0)], [(NEAR_A, 0, 0.9)], 0.7, 1.0),
    # Recall stops at 1/2 with precision 1: 51 of COCO's 101 recall levels.
    "one of two of a class": ([(A, 0), (B, 0)], [(A, 0, 0.9)], 51 / 101, 51 / 101),
    # The false one is surer, so precision is 1/2 at every recall level.
    "a false one first": ([(A, 0)], [(FAR, 0, 0.9), (A, 0, 0.5)], 0.5, 0.5),
    "a false one last": ([(A, 0)], [(A, 0, 0.9), (FAR, 0, 0.5)], 1.0, 1.0),
    "found twice": ([(A, 0), (B, 0)], [(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)], (51 + 50 * 2 / 3) / 101, None),
    "no truth": ([], [(A, 0, 0.9)], None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_coco_map_by_hand(name, capfd):
    truth, found, map50_95, map50 = CASES[name]
    scores = coco.coco_map(
        [boxes([box for box, _ in truth], [class_id for _, class_id in truth]), boxes()],
        [boxes(*zip(*found, strict=True)) if found else boxes(), boxes()],
    )
    expected = (map50_95, map50_95 if map50 is None else map50)
    assert scores == pytest.approx(expected, abs=1e-6) if map50_95 is not None else scores == (None, None)
    assert capfd.readouterr() == ("", "")


def random_images(rng, images=12, classes=4):
    truths, found = [], []
    for _ in range(images):
        count = int(rng.integers(0, 7))
        corner = rng.uniform(0, 400, (count, 2))
        truth = boxes(np.hstack([corner, corner + rng.uniform(10, 150, (count, 2))]), rng.integers(0, classes, count))
        detected = np.flatnonzero(rng.random(count) < 0.8)
        false = int(rng.integers(0, 3))
        corner = rng.uniform(0, 400, (false, 2))
        false_boxes = np.hstack([corner, corner + 60])
        xyxy = np.vstack([truth.xyxy[detected] + rng.normal(0, 6, (len(detected), 4)), false_boxes])
        class_id = np.concatenate([truth.class_id[detected], rng.integers(0, classes, false)])
        truths.append(truth)
        found.append(boxes(xyxy, class_id, rng.random(len(xyxy))))
    return truths, found


@pytest.mark.parametrize("parts", [1, 3, 5, 12])
def test_coco_map_parts_equal_the_map_without_them(parts):
    truths, found = random_images(np.random.default_rng(4))
    whole, less = coco.coco_map_parts(truths, found, parts)
    assert whole == coco.coco_map(truths, found)
    assert len(less) == parts
    left_out = 0
    for part, scores in enumerate(less):
        run = slice(part * 12 // parts, (part + 1) * 12 // parts)
        rest = [[p for i, p in enumerate(images) if i not in range(12)[run]] for images in (truths, found)]
        left_out += 12 - len(rest[0])
        assert scores == (None, None) if parts == 1 else scores == pytest.approx(coco.coco_map(*rest))
    assert left_out == 12


def test_coco_map_equals_pycocotools_on_files(tmp_path, capfd):
    """The usual way: an annotation file and a results file, one-based ids, categories by name."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, found = random_images(np.random.default_rng(3))

    def rows(images):
        for image, of_image in enumerate(images, 1):
            for (x, y, right, bottom), class_id in zip(of_image.xyxy.tolist(), of_image.class_id.tolist(), strict=True):
                box = [x, y, right - x, bottom - y]
                yield {
                    "image_id": image,
                    "category_id": class_id + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }

    annotations = [{**row, "id": i} for i, row in enumerate(rows(truths), 1)]
    categories = [{"id": i + 1, "name": str(i)} for i in range(4)]
    images = [{"id": i + 1} for i in range(len(truths))]
    scores = np.concatenate([one.confidence for one in found]).tolist()
    results = [{**row, "score": score} for row, score in zip(rows(found), scores, strict=True)]
    (tmp_path / "a.json").write_text(
        json.dumps({"info": {}, "images": images, "categories": categories, "annotations": annotations})
    )
    (tmp_path / "r.json").write_text(json.dumps(results))
    truth = COCO(str(tmp_path / "a.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "r.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capfd.readouterr()
    ours = coco.coco_map(truths, found)
    assert ours == pytest.approx(tuple(evaluation.stats[:2]), abs=1e-12)
    assert 0.05 < ours.map50_95 < ours.map50 < 0.95


def test_coco_map_wants_pairs():
    with pytest.raises(UsageError, match="truth for 1 images and boxes for 0"):
        coco.coco_map([boxes()], [])
