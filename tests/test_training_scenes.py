"""Scenes to learn from: the simulated line's and COCO's, with their truth, in an order that can be taken up again."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.models.training.scenes import CocoScenes, Scene, SimulatedScenes, indices, mirror
from nanoseg.sources.parts import TEST_SEED


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_a_mirrored_scene_keeps_boxes_on_masks(horizontal, vertical):
    scene = SimulatedScenes(validation=True)[3]
    turned = mirror(scene, horizontal, vertical)
    for box, mask in zip(turned.xyxy, turned.masks(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    back = mirror(turned, horizontal, vertical)
    assert np.array_equal(back.image, scene.image)
    assert np.array_equal(back.masks(), scene.masks())


def test_neither_training_nor_validation_sees_the_test_lines():
    seeds = {SimulatedScenes(validation)._make_line(i).seed for validation in (False, True) for i in range(50)}
    assert len(seeds) == 100
    assert max(seeds) < TEST_SEED
    far = SimulatedScenes()._make_line(10 * TEST_SEED + 5)
    assert far.seed < TEST_SEED - 100_000


def coco_folder(folder: Path) -> Path:
    """One 40 x 30 picture with a rectangle as a polygon, and a crowd that is no example."""
    cv2.imwrite(str(folder / "a.png"), np.full((30, 40, 3), 90, np.uint8))
    polygon = [10, 5, 30, 5, 30, 20, 10, 20]
    one = {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 5, 20, 15], "area": 300, "iscrowd": 0}
    crowd = {**one, "id": 2, "iscrowd": 1, "segmentation": {"size": [30, 40], "counts": [0, 1200]}}
    annotations = folder / "a.json"
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{**one, "segmentation": [polygon]}, crowd],
        "categories": [{"id": 9, "name": "nut"}, {"id": 3, "name": "bolt"}],
    }
    annotations.write_text(json.dumps(content))
    return annotations


def test_coco_scenes_are_what_the_file_says(tmp_path):
    scenes = CocoScenes(coco_folder(tmp_path), tmp_path)
    scene = scenes[5]  # beyond the end: it goes round
    assert scenes.labels == ("bolt", "nut")
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    assert scene.class_id.tolist() == [1]
    assert scene.masks().shape == (1, 30, 40)
    assert scene.masks()[0, 5:20, 10:30].all()
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png: wanted a picture"):
        scenes[0]
    with pytest.raises(SourceError, match="found none"):
        CocoScenes(tmp_path / "b.json", tmp_path)


@pytest.mark.parametrize("content", ["", "not JSON", "[]", '{"images": [{"name": "a"}], "annotations": []}'])
def test_a_file_that_is_no_coco(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SourceError, match=r"a\.json: wanted COCO instances"):
        CocoScenes(tmp_path / "a.json", tmp_path)


def test_an_annotation_that_says_nothing_of_crowds_is_none(tmp_path):
    annotations = coco_folder(tmp_path)
    content = json.loads(annotations.read_text())
    del content["annotations"][0]["iscrowd"]
    annotations.write_text(json.dumps(content))
    assert CocoScenes(annotations, tmp_path)[0].xyxy.tolist() == [[10, 5, 30, 20]]


class Few:
    """A data set that ends, of a bright square in some of its pictures."""

    labels, mirrored = ("square",), False

    def __init__(self, filled):
        self.filled = filled

    def __len__(self):
        return len(self.filled)

    def __getitem__(self, index):
        n = int(self.filled[index % len(self)])
        mask = np.zeros((n, 60, 60), bool)
        mask[:, 10:50, 10:50] = True
        image = np.full((60, 60, 3), 50, np.uint8)
        return Scene(image, np.array([[10, 10, 50, 50]] * n, np.float32).reshape(-1, 4), np.zeros(n, int), lambda: mask)


@pytest.mark.parametrize("count", [1, 5, 12])
def test_an_epoch_holds_every_scene_once_in_an_order_of_its_own(count):
    scenes = Few([1] * count)
    seen = np.array([index for step in range(count) for index in indices(scenes, step, 3, seed=1)])
    epochs = (seen.reshape(3, count) % count).tolist()
    assert [sorted(epoch) for epoch in epochs] == [list(range(count))] * 3
    assert len(set(seen.tolist())) == 3 * count  # the same picture is mirrored and relit anew
    assert count < 12 or epochs[0] != epochs[1]


def test_simulated_scenes_are_taken_in_order():
    assert indices(SimulatedScenes(), 7, 4, seed=3) == [28, 29, 30, 31]
