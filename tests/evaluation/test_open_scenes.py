"""Opening scenes by what the source looks like."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.evaluation.coco_scenes import CocoScenes
from nanoseg.evaluation.open_scenes import FolderScenes, open_scenes
from nanoseg.evaluation.simulated_scenes import SimulatedScenes
from tests.evaluation.folders import coco_folder


def image_folder(folder: Path, count: int) -> Path:
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03}.png"), np.full((20, 30 + i, 3), i, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_open_scenes_folder_without_ground_truth(tmp_path):
    scenes = open_scenes(str(image_folder(tmp_path, 3)))
    assert (len(scenes), scenes.labels) == (3, ())
    scene = scenes[4]  # beyond the end: it wraps around
    assert scene.image.shape == (20, 31, 3)
    assert (scene.xyxy.shape, scene.class_id.shape, scene.masks().shape) == ((0, 4), (0,), (0, 20, 31))
    (tmp_path / "001.png").write_bytes(b"\x89PNG")
    with pytest.raises(SourceError, match=r"001\.png"):
        scenes[1]


def test_open_scenes_kinds(tmp_path):
    annotations = coco_folder(tmp_path)
    assert isinstance(open_scenes("parts://"), SimulatedScenes)
    assert isinstance(open_scenes(tmp_path, annotations), CocoScenes)
    assert isinstance(open_scenes(tmp_path), FolderScenes)
    assert len(open_scenes(f"{tmp_path}/**/*.png")) == 1


@pytest.mark.parametrize(
    ("source", "annotations", "error", "message"),
    [
        ("parts://", "a.json", UsageError, "--annotations: wanted with a folder"),
        ("parts://?seed=1", None, UsageError, "wanted parts:// without options"),
        ("absent", None, SourceError, "absent: no such folder; wanted a folder of images, or parts://"),
        ("absent/*.jpg", None, SourceError, "no file matches this pattern"),
        (".", None, SourceError, "no pictures in this folder"),
        (".", "a.json", SourceError, "found none"),
    ],
)
def test_open_scenes_refuses(source, annotations, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        open_scenes(source, annotations and Path(annotations))
