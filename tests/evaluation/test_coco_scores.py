"""COCO's figures of boxes and masks are pycocotools' own, and those of an independent evaluator in plain numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nanoseg.evaluation.coco_scores import FIGURES, coco_scores
from nanoseg.evaluation.coco_truth import read_coco_truth
from tests.evaluation.coco_sets import made_results, simulated_coco
from tests.evaluation.plain_coco import Judge, Shape, plain_figure

PHOTOGRAPHS = ("train", "val")  # of coco-mini: 32 and 6 images


@pytest.fixture(scope="module", params=["simulated 0", "simulated 1", *PHOTOGRAPHS])
def data_set(request, tmp_path_factory):
    """Annotations, the folder of their images, and detections."""
    kind, _, seed = request.param.partition(" ")
    if kind == "simulated":
        annotations = simulated_coco(tmp_path_factory.mktemp("set"), seed=int(seed))
        return annotations, annotations.parent, made_results(annotations, int(seed))
    folder = request.getfixturevalue("shared") / "coco-mini" / "instances"
    if not folder.is_dir():
        pytest.skip("needs the photographs of ../shared/coco-mini")
    return folder / f"{kind}.json", folder / kind, made_results(folder / f"{kind}.json", 7)


def pycocotools_figures(annotations: Path, results: list[dict[str, object]], kind: str) -> list[float]:
    truth = COCO(str(annotations))
    keys = {"segmentation"} if kind == "bbox" else {"bbox"}  # with both, sizes of masks would be those of the boxes
    evaluation = COCOeval(
        truth, truth.loadRes([{k: v for k, v in one.items() if k not in keys} for one in results]), kind
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def shapes(annotations: Path, results: list[dict[str, object]], kind: str) -> tuple[list[Shape], list[Shape]]:
    coco = COCO(str(annotations))
    found = coco.loadRes([dict(one) for one in results])

    def shape(table: COCO, one: dict[str, object]) -> np.ndarray:
        return np.array(one["bbox"], float) if kind == "bbox" else table.annToMask(one).astype(bool)

    true = [
        Shape(one["image_id"], one["category_id"], shape(coco, one), one["area"], bool(one["iscrowd"]))
        for one in coco.dataset["annotations"]
    ]
    made = []
    for one in found.dataset["annotations"]:
        mine = shape(coco, one)
        area = float(np.prod(mine[2:]) if kind == "bbox" else np.sum(mine))
        made.append(Shape(one["image_id"], one["category_id"], mine, area, score=one["score"]))
    return true, made


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_scores_equal_pycocotools(data_set, kind, tmp_path, capfd):
    annotations, images, results = data_set
    truth = read_coco_truth(annotations, images)
    capfd.readouterr()
    scores = coco_scores(truth, results, kind)
    assert capfd.readouterr() == ("", "")
    # Their evaluation takes an object whose id is 0 for none: the simulated sets have one.
    content = json.loads(annotations.read_text())
    for number, one in enumerate(content["annotations"], 1):
        one["id"] = number
    (tmp_path / "numbered.json").write_text(json.dumps(content))
    theirs = pycocotools_figures(tmp_path / "numbered.json", results, kind)
    ours = [-1 if score is None else score for score in scores.overall.values()]
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert 0.05 < scores.overall["ap"] < scores.overall["ap50"] < 0.98


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_scores_equal_plain_numpy(data_set, kind):
    annotations, images, results = data_set
    truth = read_coco_truth(annotations, images)
    scores = coco_scores(truth, results, kind)
    true, found = shapes(annotations, results, kind)
    judge = Judge()
    for figure in FIGURES:
        expected = plain_figure(true, found, list(truth.category_ids), tuple(figure), judge)
        assert scores.overall[figure.name] == pytest.approx(expected, abs=1e-6), figure
    for class_id, category in enumerate(truth.category_ids):
        for figure in FIGURES[:2]:
            expected = plain_figure(true, found, [category], tuple(figure), judge)
            assert scores.by_class[class_id][figure.name] == pytest.approx(expected, abs=1e-6), (category, figure)


def test_coco_scores_without_detections_or_objects(tmp_path):
    annotations = simulated_coco(tmp_path, images=1)
    truth = read_coco_truth(annotations, tmp_path)
    for kind in ("bbox", "segm"):
        scores = coco_scores(truth, [], kind)
        assert set(scores.overall.values()) <= {0.0, None}
        assert scores.overall["ap"] == 0
        assert [one["ap"] for one in scores.by_class].count(0.0) == len(truth.present_labels)
    content = json.loads(annotations.read_text()) | {"annotations": []}
    annotations.write_text(json.dumps(content))
    none = coco_scores(read_coco_truth(annotations, tmp_path), made_results(annotations, 0), "segm")
    assert set(none.overall.values()) == {None}
