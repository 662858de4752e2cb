"""Scenes of a COCO data set: their content, and what is refused."""

import json
from pathlib import Path

import pytest

from nanoseg.errors import SourceError
from nanoseg.evaluation.coco_scenes import CocoScenes
from nanoseg.evaluation.scenes import NoMasksError
from tests.evaluation.folders import coco_folder


def test_coco_scenes_content(tmp_path):
    scenes = CocoScenes(coco_folder(tmp_path), tmp_path)
    scene = scenes[5]  # beyond the end: it wraps around
    assert (scenes.labels, scenes.present_labels) == (("bolt", "nut"), {"nut"})
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    assert scene.class_id.tolist() == [1]
    assert scene.masks().shape == (1, 30, 40)
    assert scene.masks()[0, 5:20, 10:30].all()
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png: wanted an image"):
        scenes[0]
    with pytest.raises(SourceError, match="found none"):
        CocoScenes(tmp_path / "b.json", tmp_path)


IMAGE = {"id": 1, "file_name": "a.png"}
CATEGORY = {"id": 3, "name": "bolt"}
CAPTION = {"id": 1, "image_id": 1, "caption": "a bolt"}
BOLT = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}


def coco(annotations=(BOLT,), images=(IMAGE,), categories=(CATEGORY,)) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ""),
        ("not JSON", ""),
        ("[]", ""),
        ('{"images": [{"name": "a"}], "annotations": []}', "'id' missing"),
        (coco(images=[{"id": 1}]), "'file_name' missing"),
        (coco(images=[{"id": 1, "file_name": 1}]), "file_name is 1, wanted text"),
        (coco(categories=[{"id": 3}]), "'name' missing"),
        (coco([CAPTION]), "'category_id' missing"),
        (coco([BOLT | {"category_id": 4}]), "of category 4, which is not among its categories"),
        (coco([{**BOLT, "bbox": [1, 2, 3]}]), r"bbox is \[1, 2, 3\], wanted left, top, width, height"),
        (coco([{**BOLT, "bbox": None}]), ""),
    ],
)
def test_coco_scenes_invalid_file(content, message, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SourceError, match=rf"a\.json: wanted COCO instances as JSON, got something else.*{message}"):
        CocoScenes(tmp_path / "a.json", tmp_path)


def test_coco_scenes_print_nothing(tmp_path, capsys):
    CocoScenes(coco_folder(tmp_path), tmp_path)
    assert capsys.readouterr() == ("", "")


def test_coco_scenes_without_iscrowd(tmp_path):
    annotations = coco_folder(tmp_path)
    content = json.loads(annotations.read_text())
    del content["annotations"][0]["iscrowd"]
    annotations.write_text(json.dumps(content))
    assert CocoScenes(annotations, tmp_path)[0].xyxy.tolist() == [[10, 5, 30, 20]]


def test_coco_scenes_file_name_that_no_file_can_have(tmp_path):
    annotations = coco_folder(tmp_path)
    content = json.loads(annotations.read_text())
    content["images"][0]["file_name"] = "x" * 3000
    annotations.write_text(json.dumps(content))
    with pytest.raises(SourceError, match="found none"):
        CocoScenes(annotations, tmp_path)[0]


def changed(annotations: Path, **fields: object) -> Path:
    """The file with other fields in its first object."""
    content = json.loads(annotations.read_text())
    content["annotations"][0] |= fields
    annotations.write_text(json.dumps(content))
    return annotations


@pytest.mark.parametrize(
    ("segmentation", "error", "message"),
    [
        (None, NoMasksError, "wanted a segmentation, got a box alone"),
        ([], NoMasksError, "wanted a segmentation, got a box alone"),
        ([[]], SourceError, "wanted polygons or a run-length code, got something else"),
        ("0 1", SourceError, "wanted polygons or a run-length code, got something else"),
        ({"size": [30, 40]}, SourceError, "wanted polygons or a run-length code, got something else"),
        (
            {"size": [40, 30], "counts": [0, 1200]},
            SourceError,
            "is of an image of 30 x 40 pixels, the file has 40 x 30",
        ),
    ],
)
def test_coco_scenes_object_without_mask(segmentation, error, message, tmp_path):
    """Its box is read all the same."""
    scene = CocoScenes(changed(coco_folder(tmp_path), segmentation=segmentation), tmp_path)[0]
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    with pytest.raises(error, match=rf"a\.json: object 1 in a\.png: .*{message}"):
        scene.masks()


def test_coco_scenes_text_ids_without_sizes(tmp_path):
    annotations = changed(coco_folder(tmp_path), image_id="a b")
    content = json.loads(annotations.read_text())
    content["images"] = [{"id": "a b", "file_name": "a.png"}]
    annotations.write_text(json.dumps(content))
    scene = CocoScenes(annotations, tmp_path)[0]
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    assert scene.masks().sum() == 300
    content["images"].append({"id": 7, "file_name": "a.png"})
    annotations.write_text(json.dumps(content))
    # Numbers and text have no common order.
    with pytest.raises(SourceError, match=r"a\.json: wanted COCO instances as JSON"):
        CocoScenes(annotations, tmp_path)


def test_coco_scenes_truncated_image(tmp_path):
    scenes = CocoScenes(coco_folder(tmp_path), tmp_path)
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"a\.png: the PNG file is cut short"):
        scenes[0]


def test_coco_scenes_exclude_invalid_masks(tmp_path, caplog):
    """So that a long measurement does not end at one object; a box alone is no mask that is invalid."""
    content = json.loads(coco_folder(tmp_path).read_text())
    one = content["annotations"][0]
    for number, segmentation in enumerate(
        ([[1, 2, 3, 4]], {"size": [30, 40], "counts": [5]}, [[1, 1, 9, 1, 1e9, 9]], [[0, 0, 5, 0, 5, 5]]), 10
    ):
        content["annotations"].append({**one, "id": number, "segmentation": segmentation})
    (tmp_path / "a.json").write_text(json.dumps(content))
    scenes = CocoScenes(tmp_path / "a.json", tmp_path)
    with pytest.raises(SourceError, match="object 10 in a"):
        scenes[0].masks()
    scenes.exclude_invalid_masks(range(3))
    assert scenes.excluded == 3
    assert len(scenes[0].xyxy) == 2
    assert scenes[0].masks().shape == (2, 30, 40)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(": ")[2] for line in lines] == ["object 10", "object 11", "object 12"]
    assert all(line.endswith("; it is left out") for line in lines)
    alone = CocoScenes(changed(coco_folder(tmp_path), segmentation=None), tmp_path)
    alone.exclude_invalid_masks([0])
    assert alone.excluded == 0
    with pytest.raises(NoMasksError):
        alone[0].masks()
