"""Keypoint sets: the published ones, and those of files."""

import json
from pathlib import Path

import numpy as np
import pytest

from nanoseg.bundle.keypoints import (
    KEYPOINT_SETS,
    OBJECTS,
    keypoint_set_from_json,
    keypoint_set_of,
    keypoint_set_to_json,
    read_keypoint_set,
)
from nanoseg.errors import BundleError, UsageError


def test_keypoint_sets_fit_together() -> None:
    assert {name: len(each.names) for name, each in KEYPOINT_SETS.items()} == {
        "coco": 17,
        "crowdpose": 14,
        "animalpose": 20,
    }
    for name, each in KEYPOINT_SETS.items():
        assert each.problem() == ""
        assert len(set(each.names)) == len(each.names) == len(each.sigmas)
        assert {end for line in each.skeleton for end in line} == set(range(len(each.names)))
        assert keypoint_set_of(len(each.names)) == name
        assert keypoint_set_from_json(keypoint_set_to_json(each), "x.onnx") == each
        assert name in OBJECTS
    assert keypoint_set_of(5) is None


def test_keypoint_sets_are_the_data_sets_own(shared: Path) -> None:
    """Names and lines of COCO's annotations; sigmas of pycocotools."""
    params = pytest.importorskip("pycocotools.cocoeval").Params("keypoints")
    coco = KEYPOINT_SETS["coco"]
    np.testing.assert_allclose(coco.sigmas, params.kpt_oks_sigmas)
    found = json.loads((shared / "coco-mini" / "persons" / "train.json").read_text())["categories"][0]
    assert coco.names == found["keypoints"]
    assert {tuple(sorted(each)) for each in coco.skeleton} == {
        tuple(sorted((first - 1, second - 1))) for first, second in found["skeleton"]
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sigmas = [0.1]", "names"),
        ('names = ["a", "b"]\nsigmas = [0.1]', "sigmas: wanted 2, one a name, got 1"),
        ('names = ["a", "b"]\nskeleton = [[0, 2]]', r"skeleton: wanted pairs of indices from 0 to 1, got \[0, 2\]"),
        ('names = ["a"]\ncolour = 1', "colour"),
        ("names = [", "not TOML"),
    ],
)
def test_read_keypoint_set_refuses_files(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_keypoint_set(str(tmp_path / "x.toml"))


@pytest.mark.parametrize("text", ["{", "[]", '{"names": []}', '{"names": ["a"], "skeleton": [[0, 1]]}'])
def test_keypoint_set_from_json_refuses(text: str) -> None:
    with pytest.raises(BundleError, match=r"^pose.onnx: keypoints in its metadata: .*; export it anew$"):
        keypoint_set_from_json(text, "pose.onnx")
