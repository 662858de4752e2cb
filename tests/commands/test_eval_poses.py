"""`nanoseg eval` of a bundle of poses: the figures of its keypoints are pycocotools' of the file it writes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

import nanoseg
from tests.backends.contract.conftest import make
from tests.data.fill_weights import image_u8
from tests.evaluation.test_coco_keypoints import pycocotools_figures
from tests.helpers.tiny_networks import decoder, some_pose_detector

SIGMAS = [0.05, 0.1, 0.1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("poses")
    networks = {"detector": some_pose_detector(folder / "pose.onnx"), "decoder": decoder(folder / "decoder.onnx")}
    return make(folder, **networks, labels=None, rescale_px=None)


def data_set(folder: Path, bundle: Path) -> Path:
    """Persons that are what the bundle finds, moved."""
    rng, content = (
        np.random.default_rng(0),
        {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]},
    )
    with nanoseg.load(bundle, "onnxruntime") as segmenter:
        for number in (1, 2):
            image, name = image_u8(number, 120, 160), f"{number}.png"
            cv2.imwrite(str(folder / name), image)
            content["images"].append({"id": number, "file_name": name, "width": 160, "height": 120})
            for (left, top, right, bottom), rows in zip(*_of(segmenter(image)), strict=True):
                moved = rows[:, :2] + rng.normal(0, 2, (3, 2))
                keypoints = np.column_stack([moved, np.full(3, 2)]).ravel().tolist()
                box = [left, top, right - left, bottom - top]
                corners = [left, top, right, top, right, bottom, left, bottom]
                one = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
                one |= {"bbox": box, "area": 1.0 * box[2] * box[3], "segmentation": [corners]}
                content["annotations"].append(one | {"keypoints": keypoints, "num_keypoints": 3})
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def _of(found: nanoseg.Detections) -> tuple[list[list[float]], np.ndarray]:
    return found.xyxy[::2].tolist(), found.keypoints[::2]


def test_eval_poses_figures(bundle: Path, tmp_path: Path, call) -> None:
    annotations = data_set(tmp_path, bundle)
    words = ["eval", "--images", tmp_path, "--annotations", annotations, "--bundle", bundle, "--backend", "onnxruntime"]
    out = tmp_path / "out"
    code, text, err = call(*words, "--prompts", "detected", "--out", out)
    assert (code, err) == (0, "")
    found = json.loads((out / "report.json").read_text())["keypoints"]
    theirs = pycocotools_figures(annotations, json.loads((out / "detections.json").read_text()), SIGMAS)
    assert [-1 if value is None else value for value in found.values()] == pytest.approx(theirs, abs=1e-12)
    assert 0.1 < found["ap"] < 0.99
    assert f"keypoints  AP {found['ap']:.3f}" in text
    assert "OKS" in (out / "report.html").read_text()


def test_eval_poses_prompted_by_the_truth_has_none(bundle: Path, tmp_path: Path, call) -> None:
    annotations = data_set(tmp_path, bundle)
    words = ["eval", "--images", tmp_path, "--annotations", annotations, "--bundle", bundle, "--backend", "onnxruntime"]
    code, text, _ = call(*words, "--json")
    assert code == 0
    assert json.loads(text)["keypoints"] is None
