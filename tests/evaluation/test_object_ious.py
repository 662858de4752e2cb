"""The mean IoU of objects is NanoSAM's: its protocol written plainly, on masks that are whole arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

from pycocotools.coco import COCO

from nanoseg.evaluation.coco_truth import read_coco_truth
from nanoseg.evaluation.object_ious import detected_ious, mask_iou, mean_iou_table, prompted_ious
from tests.evaluation.coco_sets import encoded, simulated_coco


def plain_mean(rows: list[dict[str, object]], least: float | None, most: float | None) -> float | None:
    """The mean over the rows of an area; both limits belong to it."""
    ious = [
        row["iou"] for row in rows if (least is None or row["area"] >= least) and (most is None or row["area"] <= most)
    ]
    return sum(ious) / len(ious) if ious else None


@pytest.fixture(scope="module", params=["simulated", "train", "val"])
def data_set(request, tmp_path_factory):
    if request.param == "simulated":
        annotations = simulated_coco(tmp_path_factory.mktemp("set"))
        return annotations, annotations.parent
    folder = request.getfixturevalue("shared") / "coco-mini" / "instances"
    if not folder.is_dir():
        pytest.skip("needs the photographs of ../shared/coco-mini")
    return folder / f"{request.param}.json", folder / request.param


def test_object_ious_equal_the_plain_protocol(data_set: tuple[Path, Path]) -> None:
    annotations, images = data_set
    truth, coco, rng = read_coco_truth(annotations, images), COCO(str(annotations)), np.random.default_rng(2)
    ours, plain = [], []
    for image in truth.images:
        results = []
        for one in coco.imgToAnns[image.id]:
            true = coco.annToMask(one) > 0
            found = np.roll(true, rng.integers(-6, 7, 2), (0, 1)) & (rng.random(true.shape) < 0.9)
            results.append({"segmentation": encoded(found)})
            iou = np.count_nonzero(found & true) / np.count_nonzero(found | true)
            plain.append({**one, "iou": iou})
        ours += prompted_ious(image, results, truth.category_ids)
    assert [(one.id, one.area, one.iscrowd) for one in ours] == [(o["id"], o["area"], o["iscrowd"]) for o in plain]
    assert [one.iou for one in ours] == pytest.approx([one["iou"] for one in plain], abs=1e-12)
    table = mean_iou_table(ours, truth.category_ids)
    limits = {"all": (None, None), "small": (None, 1024), "medium": (1024, 9216), "large": (9216, None)}
    for rows, means in [
        (plain, table.overall),
        *(
            ([one for one in plain if one["category_id"] == category], means)
            for category, means in zip(truth.category_ids, table.by_class, strict=True)
        ),
    ]:
        for name, of_size in limits.items():
            assert means[name].miou == pytest.approx(plain_mean(rows, *of_size), abs=1e-6)
    assert sum(one.iscrowd for one in ours) > 0
    if annotations.name == "a.json":  # objects of an area of exactly 1024 are both small and medium
        assert sum(table.overall[name].objects for name in ("small", "medium", "large")) > table.overall["all"].objects


def test_object_ious_of_detections(tmp_path: Path) -> None:
    truth = read_coco_truth(simulated_coco(tmp_path, images=2), tmp_path)
    image = truth.images[0]
    objects = [one for one in image.objects if not one.is_crowd]
    results = [
        {
            "category_id": truth.category_ids[one.class_id],
            "bbox": list(one.xywh),
            "score": 0.5 + index / 100,
            "segmentation": one.mask,
        }
        for index, one in enumerate(objects[1:])
    ]
    results[0]["segmentation"] = encoded(np.zeros((240, 320), bool))
    ious = detected_ious(image, results, truth.category_ids)
    assert [one.id for one in ious] == [one.id for one in objects]  # without the crowds
    assert [one.result for one in ious] == [-1, *range(len(results))]
    assert [one.iou for one in ious] == [0.0, 0.0, *[1.0] * (len(objects) - 2)]
    assert detected_ious(truth.images[-1], [], truth.category_ids) == []


def test_object_ious_of_empty_masks() -> None:
    empty, full = encoded(np.zeros((4, 5), bool)), encoded(np.ones((4, 5), bool))
    assert (mask_iou(empty, empty), mask_iou(empty, full), mask_iou(full, full)) == (0.0, 0.0, 1.0)
