"""Annotation files that cannot be right: refused as a whole, or without the objects that are named."""

import json
import logging
import re
from pathlib import Path

import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

from nanoseg.errors import SourceError
from nanoseg.evaluation.coco_file import read_coco_file
from nanoseg.evaluation.coco_scenes import MAX_REPORTED, CocoScenes
from tests.evaluation.folders import coco_folder

NAN, INFINITY = float("nan"), float("inf")
IMAGE = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
BOLT = {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}


def write(folder: Path, annotations=(BOLT,), images=(IMAGE,), categories=({"id": 3, "name": "bolt"},)) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


EXCLUDED = {
    "orphan": ({"image_id": 2}, "object 6: its image, 2, is not in the file"),
    "orphan by type": ({"image_id": "1"}, "object 6: its image, '1', is not in the file"),
    "id of another": ({"id": 5}, "object 5: another object has its id"),
    "NaN": ({"bbox": [1, NAN, 3, 4]}, "object 6: its bbox is [1.0, nan, 3.0, 4.0]"),
    "infinity": ({"bbox": [1, 2, INFINITY, 4]}, "object 6: its bbox is [1.0, 2.0, inf, 4.0]"),
    "minus infinity": ({"bbox": [-INFINITY, 2, 3, 4]}, "object 6: its bbox is [-inf, 2.0, 3.0, 4.0]"),
    "overflow": ({"bbox": [1e308, 2, 1e308, 4]}, "object 6: its bbox is [1e+308, 2.0, 1e+308, 4.0]"),
    "a number of 400 digits": ({"bbox": [10**400, 2, 3, 4]}, "object 6: its bbox is [inf, inf, inf, inf]"),
    "negative width": ({"bbox": [9, 9, -3, 4]}, "object 6: its bbox is -3 wide and 4 high"),
    "no height": ({"bbox": [9, 9, 3, 0]}, "object 6: its bbox is 3 wide and 0 high"),
    "right of the picture": ({"bbox": [40, 2, 3, 4]}, "is outside of its image of 40 x 30 pixels"),
    "above the picture": ({"bbox": [1, -5, 3, 5]}, "is outside of its image of 40 x 30 pixels"),
    "text id": ({"id": "six", "bbox": [1, 2, 0, 0]}, "object 'six': its bbox is 0 wide and 0 high"),
}


@pytest.mark.parametrize("name", EXCLUDED)
def test_coco_file_excludes_objects(name, tmp_path):
    changes, line = EXCLUDED[name]
    content = read_coco_file(write(tmp_path, [BOLT, {**BOLT, "id": 6, **changes}]))
    assert [one.id for one in content.images[0].objects] == [5]
    (told,) = content.excluded
    assert line in told
    assert told.startswith("line 1, column ")


KEPT = {
    "partly outside": {"bbox": [-5, -5, 100, 100]},
    "smaller than a pixel": {"bbox": [1, 1, 0.25, 0.5]},
    "no iscrowd and area": {},
    "an area that is wrong": {"area": NAN},
    "iscrowd null": {"iscrowd": None},
    "whole ids as floats": {"image_id": 1.0, "category_id": 3.0},
}


@pytest.mark.parametrize("name", KEPT)
def test_coco_file_keeps_objects(name, tmp_path):
    content = read_coco_file(write(tmp_path, [{**BOLT, **KEPT[name]}]))
    assert content.excluded == []
    assert [one.is_crowd for one in content.images[0].objects] == [False]


@pytest.mark.parametrize(
    ("bbox", "lines"),
    [
        ([-5, 3, 100, 10], ["object 5: its bbox reaches 55 px beyond its image"]),
        ([3, -4.5, 10, 20], ["object 5: its bbox reaches 4.5 px beyond its image"]),
        ([-1, -1, 42, 32], []),
    ],
)
def test_coco_file_tells_of_boxes_beyond_their_image(bbox, lines, tmp_path):
    content = read_coco_file(write(tmp_path, [{**BOLT, "bbox": bbox}]))
    assert [re.sub(r"^line 1, column [0-9]+: ", "", line) for line in content.reaching] == lines
    assert content.excluded == []
    assert len(content.images[0].objects) == 1


REFUSED = {
    "width negative": ({"images": [{**IMAGE, "width": -40}]}, "image 1: its width is -40, wanted a whole number"),
    "height 0": ({"images": [{**IMAGE, "height": 0}]}, "image 1: its height is 0"),
    "height in halves": ({"images": [{**IMAGE, "height": 30.5}]}, "image 1: its height is 30.5"),
    "width NaN": ({"images": [{**IMAGE, "width": NAN}]}, "image 1: its width is nan"),
    "width as text": ({"images": [{**IMAGE, "width": "40"}]}, "image 1: its width is '40'"),
    "height huge": ({"images": [{**IMAGE, "height": 200000}]}, "image 1: its height is 200000"),
    "two images of an id": ({"images": [IMAGE, IMAGE]}, "two images have the id 1"),
    "two categories of an id": ({"categories": [{"id": 3, "name": "a"}] * 2}, "two categories have the id 3"),
    "image id null": ({"images": [{**IMAGE, "id": None}]}, "an image: its id is None, wanted a whole number or text"),
    "image id a list": ({"images": [{**IMAGE, "id": [1]}]}, r"an image: its id is \[1\]"),
    "object id a half": ({"annotations": [{**BOLT, "id": 0.5}]}, "an object: its id is 0.5"),
    "object id true": ({"annotations": [{**BOLT, "id": True}]}, "an object: its id is True"),
    "image_id infinite": ({"annotations": [{**BOLT, "image_id": INFINITY}]}, "object 5: its image_id is inf"),
    "category id text": ({"annotations": [{**BOLT, "category_id": "3"}]}, "object 5: an object of category '3'"),
    "iscrowd 2": ({"annotations": [{**BOLT, "iscrowd": 2}]}, "object 5: its iscrowd is 2, wanted 0 or 1"),
    "bbox text": ({"annotations": [{**BOLT, "bbox": ["1", 2, 3, 4]}]}, "object 5: an object's bbox is"),
    "bbox an object": ({"annotations": [{**BOLT, "bbox": {"x": 1}}]}, "object 5: an object's bbox is"),
    "an annotation is a number": ({"annotations": [7]}, "one of its annotations is 7, wanted an object"),
    "annotations an object": ({"annotations": {"5": BOLT}}, "its annotations are a object, wanted a list"),
    "a NUL in a name": ({"images": [{**IMAGE, "file_name": "a\0.png"}]}, "image 1: its file_name is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_coco_file_refused(name, tmp_path):
    changes, message = REFUSED[name]
    place = "" if message.startswith("its annotations are") else r"line 1, column [0-9]+: "
    wanted = rf"a\.json: wanted COCO instances as JSON, got something else: {place}{message}"
    with pytest.raises(SourceError, match=wanted):
        read_coco_file(write(tmp_path, **changes))


SPREAD = """{
  "info": {"annotations": [1, "]}"]},
  "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30},
    {"id": 2, "file_name": "b.png"}],
  "annotations": [
    {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]},
    {"id": 6, "image_id": 1, "category_id": 3, "bbox": [1, 2, 0, 4],
     "caption": "]}, {"},{"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 2, 90, 4]}
    , {"id": 8, "image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4]}
  ],
  "categories": [{"id": 3, "name": "bolt"}]
}
"""


def test_coco_file_tells_objects_by_line(tmp_path):
    (tmp_path / "a.json").write_text(SPREAD)
    content = read_coco_file(tmp_path / "a.json")
    assert content.excluded == [
        "line 7, column 5: object 6: its bbox is 0 wide and 4 high",
        "line 9, column 7: object 8: its image, 9, is not in the file",
    ]
    assert content.reaching == ["line 8, column 26: object 7: its bbox reaches 51 px beyond its image"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"file_name": "b.png"', '"name": "b.png"', "line 4, column 5: image 2: 'file_name' missing"),
        ('"id": 2,', '"id": 1,', "line 4, column 5: two images have the id 1"),
        ('"id": 3, "name"', '"id": null, "name"', "line 11, column 18: a category: its id is None"),
        ("[1, 2, 0, 4],\n", "[1, 2, 0],\n", "line 7, column 5: object 6: an object's bbox"),
        (
            '"category_id": 3, "bbox": [1, 2, 0, 4]',
            '"category_id": 3, "category_id": 3, "bbox": [1, 2, 0, 4]',
            r"the key 'category_id' is there twice in one object \(line 7, column 5\)",
        ),
        ('"caption": "]}, {"', '"caption": ]', r"not JSON: Expecting value \(line 8, column 17\)"),
    ],
)
def test_coco_file_refused_by_line(old, new, message, tmp_path):
    assert SPREAD.count(old) == 1
    (tmp_path / "a.json").write_text(SPREAD.replace(old, new))
    with pytest.raises(SourceError, match=rf"a\.json: wanted COCO instances as JSON, got something else: {message}"):
        read_coco_file(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "its brackets are nested too deep"),
        ('{"images": [' + "9" * 5000 + "]}", "a number of 5000 digits is too long"),
        ('{"images": [], "images": []}', "the key 'images' is there twice in one object"),
        ('{"images": [}', "not JSON"),
    ],
)
def test_coco_file_that_is_no_json(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match=rf"a\.json: wanted COCO instances as JSON, got something else.*{message}"):
        read_coco_file(tmp_path / "a.json")


def test_coco_scenes_tell_the_first_excluded_objects(tmp_path, caplog):
    coco_folder(tmp_path)
    wrong = [{**BOLT, "id": 10 + i, "bbox": [1, 2, 0, 4]} for i in range(9)]
    with caplog.at_level(logging.WARNING, "nanoseg"):
        scenes = CocoScenes(write(tmp_path, [BOLT, *wrong]), tmp_path)
    assert scenes.excluded == 9
    assert len(scenes[0].xyxy) == 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == MAX_REPORTED + 1
    assert "object 10: its bbox is 0 wide and 4 high; it is left out" in lines[0]
    assert "the same of 4 more objects: each is left out" in lines[-1]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"width": 80, "height": 60}, "image 1: wanted 80 x 60 pixels in a.png, got 40 x 30; give"),
        ({"width": 30, "height": 40}, "got 40 x 30; it may have been turned; give"),
        ({"width": 41}, "wanted 41 x 30 pixels in a.png, got 40 x 30"),
    ],
)
def test_coco_scenes_refuse_an_image_of_another_size(size, message, tmp_path):
    coco_folder(tmp_path)
    scenes = CocoScenes(write(tmp_path, images=[{**IMAGE, **size}]), tmp_path)
    with pytest.raises(SourceError, match=message):
        scenes[0]


def test_coco_scenes_without_annotations(tmp_path):
    coco_folder(tmp_path)
    for annotations in ([], [{**BOLT, "iscrowd": 1}]):
        scene = CocoScenes(write(tmp_path, annotations), tmp_path)[0]
        assert scene.xyxy.shape == (0, 4)
        assert scene.masks().shape == (0, 30, 40)
        assert len(scene.crowds.xyxy) == len(annotations)
