"""COCO's figures of keypoints are pycocotools' own, and follow from the formula of OKS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nanoseg.bundle.keypoints import KEYPOINT_SETS, KeypointSet
from nanoseg.errors import BundleError, SourceError
from nanoseg.evaluation.coco_scores import KEYPOINT_FIGURES, coco_scores
from nanoseg.evaluation.coco_truth import read_coco_truth
from nanoseg.evaluation.evaluate_coco import oks_sigmas
from tests.evaluation.coco_sets import simulated_coco
from tests.fakes.engines import fake_bundle

SIGMAS = [0.03, 0.05, 0.08, 0.1]


def with_keypoints(annotations: Path, seed: int = 0) -> Path:
    """Give each object four keypoints in its box, some of them unknown, and every fifth one none."""
    rng, content = np.random.default_rng(seed), json.loads(annotations.read_text())
    for number, one in enumerate(content["annotations"], 1):
        left, top, width, height = one["bbox"]
        xy = rng.uniform(0, 1, (4, 2)) * (width, height) + (left, top)
        seen = rng.integers(0, 3, 4) * (number % 5 > 0)
        rows = np.concatenate([xy, seen[:, None]], 1) * (seen > 0)[:, None]
        one |= {"id": number, "keypoints": rows.ravel().tolist(), "num_keypoints": int((seen > 0).sum())}
    annotations.write_text(json.dumps(content))
    return annotations


def made_poses(annotations: Path, sigmas: list[float], seed: int) -> list[dict[str, Any]]:
    """Perturbed truth: moved by up to some sigmas, a few missed, a few of nothing, and ones of the wrong object."""
    rng, made = np.random.default_rng(seed), []
    for one in json.loads(annotations.read_text())["annotations"]:
        true = np.array(one["keypoints"], float).reshape(-1, 3)
        spread = np.sqrt(one["area"]) * np.array(sigmas)[:, None] * rng.choice([0.3, 1.0, 2.5])
        for _ in range(rng.integers(0, 3)):
            rows = np.column_stack([true[:, :2] + rng.normal(0, 1, true[:, :2].shape) * spread, rng.random(len(true))])
            if rng.random() < 0.15:
                rows[:, :2] += 300
            made.append(
                {
                    "image_id": one["image_id"],
                    "category_id": one["category_id"],
                    "bbox": one["bbox"],
                    "score": float(rng.random()),
                    "segmentation": one["segmentation"],
                    "keypoints": rows.ravel().tolist(),
                }
            )
    return made


def pycocotools_figures(annotations: Path, results: list[dict[str, Any]], sigmas: list[float]) -> list[float]:
    """Only with these keys does loadRes take the size of a detection from its keypoints."""
    keys = ("image_id", "category_id", "score", "keypoints")
    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes([{key: one[key] for key in keys} for one in results]), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def compare(annotations: Path, images: Path, sigmas: list[float], seed: int) -> None:
    results = made_poses(annotations, sigmas, seed)
    scores = coco_scores(read_coco_truth(annotations, images), results, "keypoints", sigmas)
    theirs = pycocotools_figures(annotations, results, sigmas)
    assert [-1 if score is None else score for score in scores.overall.values()] == pytest.approx(theirs, abs=1e-12)
    assert 0.05 < scores.overall["ap"] < scores.overall["ap50"] < 0.98


def test_coco_keypoints_figures_are_in_pycocotools_order() -> None:
    assert [figure.name for figure in KEYPOINT_FIGURES] == [
        *("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_coco_keypoints_equal_pycocotools(seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Crowds, objects without keypoints, and objects at the border of two sizes are among them."""
    compare(with_keypoints(simulated_coco(tmp_path, seed=seed), seed), tmp_path, SIGMAS, seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_coco_keypoints_of_persons_equal_pycocotools(seed: int, shared: Path) -> None:
    folder = shared / "coco-mini" / "persons"
    if not folder.is_dir():
        pytest.skip("needs the photographs of ../shared/coco-mini")
    compare(folder / "train.json", folder / "train", list(KEYPOINT_SETS["coco"].sigmas), seed)


@pytest.mark.parametrize("moved_px", [0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 40.0])
def test_coco_keypoints_follow_the_formula(moved_px: float, tmp_path: Path) -> None:
    """One object, one keypoint of which is moved: AP is the share of thresholds that its OKS reaches."""
    annotations = simulated_coco(tmp_path, images=1)
    content = json.loads(annotations.read_text())
    one = content["annotations"][0] | {"id": 1, "iscrowd": 0, "area": 2500.0, "bbox": [10, 10, 50, 50]}
    true = [20.0, 20.0, 2, 40.0, 20.0, 2, 20.0, 50.0, 1, 0, 0, 0]
    content["annotations"] = [one | {"keypoints": true, "num_keypoints": 3}]
    annotations.write_text(json.dumps(content))
    found = [*true[:3], 40.0 + moved_px, *true[4:9], 500.0, 500.0, 1.0]  # one that is not labelled is no matter
    keys = ("image_id", "category_id", "bbox", "segmentation")
    result = {**{key: one[key] for key in keys}, "score": 0.9, "keypoints": found}
    scores = coco_scores(read_coco_truth(annotations, tmp_path), [result], "keypoints", SIGMAS).overall
    similarity = (2 + np.exp(-(moved_px**2) / (2 * 2500 * (2 * SIGMAS[1]) ** 2))) / 3
    reached = float(np.mean(similarity >= np.linspace(0.5, 0.95, 10)))
    assert scores["ap"] == pytest.approx(reached)
    assert scores["ar"] == pytest.approx(reached)
    assert (scores["ap_medium"], scores["ap_large"]) == (pytest.approx(reached), None)


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        ([1, 2], "object 1: its keypoints are 2 entries, wanted x, y and visibility of each in one list of numbers"),
        ([], "object 1: its keypoints are 0 entries"),
        ([[1, 2, 2]], "object 1: its keypoints are 1 entries"),
        ({"nose": [1, 2]}, "object 1: its keypoints are dict, wanted"),
        ([1, 2, True], "object 1: its keypoints are 3 entries"),
        ([1, float("nan"), 2], "object 1: its keypoints have NaN or infinity"),
        ([10**400, 1, 2], "object 1: its keypoints have NaN or infinity"),
    ],
)
def test_coco_keypoints_refused(keypoints: object, message: str, tmp_path: Path) -> None:
    annotations = with_keypoints(simulated_coco(tmp_path, images=1))
    content = json.loads(annotations.read_text())
    content["annotations"][0]["keypoints"] = keypoints
    annotations.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=message):
        read_coco_truth(annotations, tmp_path)


def test_oks_sigmas_where_both_have_keypoints(tmp_path: Path) -> None:
    plain = read_coco_truth(simulated_coco(tmp_path, images=1), tmp_path)
    truth = read_coco_truth(with_keypoints(tmp_path / "a.json"), tmp_path)
    names = ["a", "b", "c", "d"]
    named = fake_bundle(keypoints=KeypointSet(names, SIGMAS))
    assert oks_sigmas(truth, named) == SIGMAS
    assert oks_sigmas(plain, named) is None
    assert oks_sigmas(truth, fake_bundle(keypoints=KeypointSet(names))) is None
    assert oks_sigmas(truth, fake_bundle()) is None
    with pytest.raises(BundleError, match=r"finds 17 keypoints, but object 1 of a.json has 4; evaluate it on"):
        oks_sigmas(truth, fake_bundle(keypoints=KEYPOINT_SETS["coco"]))
