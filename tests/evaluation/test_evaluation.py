"""mAP and mIoU against cases that can be worked out on paper, and against pycocotools' own reading of a file."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.evaluation.miou import MaskIou, box_iou, mask_iou, match

coco = pytest.importorskip("nanoseg.evaluation.coco", reason="needs pycocotools", exc_type=ImportError)


def boxes(xyxy=(), class_id=(), confidence=()):
    return SimpleNamespace(
        xyxy=np.array(xyxy, np.float32).reshape(-1, 4),
        class_id=np.array(class_id, np.int64),
        confidence=np.array(confidence, np.float32),
    )


A, B, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 400, 450, 450]
NEAR_A = [0, 0, 100, 80]  # IoU 0.80 with A: right at 7 of COCO's 10 thresholds

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
def test_map_by_hand(name, capfd):
    truth, found, map50_95, map50 = CASES[name]
    scores = coco.coco_map(
        [boxes([box for box, _ in truth], [kind for _, kind in truth]), boxes()],
        [boxes(*zip(*found, strict=True)) if found else boxes(), boxes()],
    )
    expected = (map50_95, map50_95 if map50 is None else map50)
    assert scores == pytest.approx(expected, abs=1e-6) if map50_95 is not None else scores == (None, None)
    assert capfd.readouterr() == ("", "")


def random_pictures(rng, pictures=12, classes=4):
    truths, found = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 7))
        corner = rng.uniform(0, 400, (count, 2))
        truth = boxes(np.hstack([corner, corner + rng.uniform(10, 150, (count, 2))]), rng.integers(0, classes, count))
        seen = np.flatnonzero(rng.random(count) < 0.8)
        false = int(rng.integers(0, 3))
        corner = rng.uniform(0, 400, (false, 2))
        made_up = np.hstack([corner, corner + 60])
        xyxy = np.vstack([truth.xyxy[seen] + rng.normal(0, 6, (len(seen), 4)), made_up])
        class_id = np.concatenate([truth.class_id[seen], rng.integers(0, classes, false)])
        truths.append(truth)
        found.append(boxes(xyxy, class_id, rng.random(len(xyxy))))
    return truths, found


@pytest.mark.parametrize("parts", [1, 3, 5, 12])
def test_leaving_pictures_out_is_not_having_had_them(parts):
    truths, found = random_pictures(np.random.default_rng(4))
    whole, less = coco.coco_map_parts(truths, found, parts)
    assert whole == coco.coco_map(truths, found)
    assert len(less) == parts
    left_out = 0
    for part, scores in enumerate(less):
        run = slice(part * 12 // parts, (part + 1) * 12 // parts)
        rest = [[p for i, p in enumerate(pictures) if i not in range(12)[run]] for pictures in (truths, found)]
        left_out += 12 - len(rest[0])
        assert scores == (None, None) if parts == 1 else scores == pytest.approx(coco.coco_map(*rest))
    assert left_out == 12


def test_map_equals_pycocotools_on_files(tmp_path, capfd):
    """The usual way: an annotation file and a results file, one-based ids, categories by name."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, found = random_pictures(np.random.default_rng(3))

    def rows(pictures):
        for image, picture in enumerate(pictures, 1):
            for (x, y, right, bottom), kind in zip(picture.xyxy.tolist(), picture.class_id.tolist(), strict=True):
                box = [x, y, right - x, bottom - y]
                yield {"image_id": image, "category_id": kind + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}

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


def test_map_wants_pairs():
    with pytest.raises(UsageError, match="truth for 1 pictures and boxes for 0"):
        coco.coco_map([boxes()], [])


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([(A, 0), (B, 1)], [(B, 1, 0.9), (A, 0, 0.8)], [1, 0]),
        ([(A, 0)], [(A, 1, 0.9)], [-1]),
        ([(A, 0)], [([0, 0, 100, 49], 0, 0.9)], [-1]),
        ([(A, 0)], [([0, 0, 100, 50], 0, 0.9)], [0]),
        # The surer box is served first, even though the other fits better.
        ([(A, 0)], [(A, 0, 0.5), (NEAR_A, 0, 0.9)], [1]),
        # It takes the one it fits best, and the next makes do with the other.
        ([(NEAR_A, 0), (A, 0)], [(A, 0, 0.9), (A, 0, 0.8)], [1, 0]),
        ([], [(A, 0, 0.9)], []),
        ([(A, 0)], [], [-1]),
    ],
)
def test_matching_by_hand(truth, found, expected):
    truth = boxes([box for box, _ in truth], [kind for _, kind in truth])
    found = boxes(*zip(*found, strict=True)) if found else boxes()
    assert match(truth, found).tolist() == expected


def test_box_iou_is_the_iou_of_the_pixels():
    rng = np.random.default_rng(1)
    one, other = (np.sort(rng.integers(0, 30, (9, 2, 2)), axis=1).reshape(9, 4) for _ in range(2))

    def pixels(box):
        mask = np.zeros((30, 30), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask

    expected = [[mask_iou(pixels(a), pixels(b)) for b in other] for a in one]
    np.testing.assert_allclose(box_iou(one, other), expected, atol=1e-12)


def scene(rows, mask_key):
    """Squares (left, top, side, class[, share of its rows that the mask keeps]) on a 300 x 300 frame."""
    masks = np.zeros((len(rows), 300, 300), bool)
    xyxy = []
    for mask, (left, top, side, _, share) in zip(masks, rows, strict=True):
        mask[top : top + int(side * share), left : left + side] = True
        xyxy.append([left, top, left + side, top + side])
    one = boxes(xyxy, [row[3] for row in rows], np.linspace(0.9, 0.5, len(rows)))
    setattr(one, mask_key, masks)
    return one


def test_miou_by_hand():
    ious = MaskIou()
    assert ious.result() == (None, None, None, None)
    truth = [(0, 0, 20, 0, 1), (30, 0, 50, 1, 1), (100, 100, 100, 2, 1), (0, 200, 40, 0, 1)]
    # Small: half its mask. Medium: one whole, one not found. Large: three quarters. And one that is not there.
    found = [(100, 100, 100, 2, 0.75), (0, 0, 20, 0, 0.5), (30, 0, 50, 1, 1), (250, 0, 40, 0, 1)]
    ious.add(scene(truth, "masks"), scene(found, "mask"))
    assert ious.result() == pytest.approx(((0.5 + 1 + 0.75 + 0) / 4, 0.5, 0.5, 0.75))
    ious.add(scene([], "masks"), scene([], "mask"))
    ious.add(scene([(0, 0, 20, 0, 1)], "masks"), scene([], "mask"))
    assert ious.result() == pytest.approx((2.25 / 5, 0.25, 0.5, 0.75))


@pytest.mark.parametrize(("side", "column"), [(31, 1), (32, 2), (95, 2), (96, 3)])
def test_sizes_are_cocos(side, column):
    ious = MaskIou()
    ious.add(scene([(0, 0, side, 0, 1)], "masks"), scene([(0, 0, side, 0, 1)], "mask"))
    assert [i for i, value in enumerate(ious.result()) if value is not None] == [0, column]
