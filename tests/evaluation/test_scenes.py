"""Scenes of every source, with their truth; and which of them calibrate a network, which judge it."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.evaluation.scenes import (
    CocoScenes,
    FolderScenes,
    NoMasksError,
    SimulatedScenes,
    classes_by_name,
    open_scenes,
)
from nanoseg.evaluation.split import split, spread
from nanoseg.sources.simulator.line import TEST_SEED


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
    assert (scenes.labels, scenes.shown) == (("bolt", "nut"), {"nut"})
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    assert scene.class_id.tolist() == [1]
    assert scene.masks().shape == (1, 30, 40)
    assert scene.masks()[0, 5:20, 10:30].all()
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"a\.png: wanted a picture"):
        scenes[0]
    with pytest.raises(SourceError, match="found none"):
        CocoScenes(tmp_path / "b.json", tmp_path)


@pytest.mark.parametrize(
    ("shown", "names", "classes", "strange"),
    [
        ("bolt nut", "bolt nut", [0, 1], []),
        ("bolt nut", "gear nut bolt", [2, 1], []),
        ("nut", "gear nut", [-1, 1], []),  # a split of a data set may show less than its file lists
        ("bolt nut", "gear nut", [-1, 1], ["bolt"]),
        ("", "gear", [-1, -1], []),
    ],
)
def test_classes_are_found_by_name(shown, names, classes, strange):
    got, unknown = classes_by_name(("bolt", "nut"), shown.split(), names.split())
    assert (got.tolist(), unknown) == (classes, strange)


def test_classes_of_one_name_keep_their_places():
    assert classes_by_name(("nut", "nut"), {"nut"}, ("nut", "nut"))[0].tolist() == [0, 1]


IMAGE = {"id": 1, "file_name": "a.png"}
CATEGORY = {"id": 3, "name": "bolt"}
CAPTION = {"id": 1, "image_id": 1, "caption": "a bolt"}
BOLT = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}


def coco(annotations=(BOLT,), images=(IMAGE,), categories=(CATEGORY,)) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


@pytest.mark.parametrize(
    ("content", "said"),
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
def test_a_file_that_is_no_coco(content, said, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SourceError, match=rf"a\.json: wanted COCO instances as JSON, got something else.*{said}"):
        CocoScenes(tmp_path / "a.json", tmp_path)


def test_a_coco_file_is_read_in_silence(tmp_path, capsys):
    CocoScenes(coco_folder(tmp_path), tmp_path)
    assert capsys.readouterr() == ("", "")


def test_an_annotation_that_says_nothing_of_crowds_is_none(tmp_path):
    annotations = coco_folder(tmp_path)
    content = json.loads(annotations.read_text())
    del content["annotations"][0]["iscrowd"]
    annotations.write_text(json.dumps(content))
    assert CocoScenes(annotations, tmp_path)[0].xyxy.tolist() == [[10, 5, 30, 20]]


def changed(annotations: Path, **fields: object) -> Path:
    """The file with other fields in its first object."""
    content = json.loads(annotations.read_text())
    content["annotations"][0] |= fields
    annotations.write_text(json.dumps(content))
    return annotations


@pytest.mark.parametrize(
    ("outline", "error", "said"),
    [
        (None, NoMasksError, "wanted a segmentation, got a box alone"),
        ([], NoMasksError, "wanted a segmentation, got a box alone"),
        ([[]], SourceError, "wanted polygons or a run-length code, got something else"),
        ("0 1", SourceError, "wanted polygons or a run-length code, got something else"),
        ({"size": [30, 40]}, SourceError, "wanted polygons or a run-length code, got something else"),
        (
            {"size": [40, 30], "counts": [0, 1200]},
            SourceError,
            "is of a picture of 30 x 40 pixels, the file has 40 x 30",
        ),
    ],
)
def test_an_object_without_a_mask(outline, error, said, tmp_path):
    """Its box is told all the same."""
    scene = CocoScenes(changed(coco_folder(tmp_path), segmentation=outline), tmp_path)[0]
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    with pytest.raises(error, match=rf"a\.json: object 1 in a\.png: .*{said}"):
        scene.masks()


def test_ids_may_be_text_and_sizes_left_out(tmp_path):
    annotations = changed(coco_folder(tmp_path), image_id="a b")
    content = json.loads(annotations.read_text())
    content["images"] = [{"id": "a b", "file_name": "a.png"}]
    annotations.write_text(json.dumps(content))
    scene = CocoScenes(annotations, tmp_path)[0]
    assert scene.xyxy.tolist() == [[10, 5, 30, 20]]
    assert scene.masks().sum() == 300
    content["images"].append({"id": 7, "file_name": "a.png"})
    annotations.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r"a\.json: wanted COCO instances as JSON"):  # they have no order
        CocoScenes(annotations, tmp_path)


def test_a_picture_cut_short_is_told(tmp_path):
    scenes = CocoScenes(coco_folder(tmp_path), tmp_path)
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"a\.png: the PNG file is cut short"):
        scenes[0]


def picture_folder(folder: Path, count: int) -> Path:
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03}.png"), np.full((20, 30 + i, 3), i, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_tells_nothing_of_its_pictures(tmp_path):
    scenes = open_scenes(str(picture_folder(tmp_path, 3)))
    assert (len(scenes), scenes.labels) == (3, ())
    scene = scenes[4]  # beyond the end: it goes round
    assert scene.image.shape == (20, 31, 3)
    assert (scene.xyxy.shape, scene.class_id.shape, scene.masks().shape) == ((0, 4), (0,), (0, 20, 31))
    (tmp_path / "001.png").write_bytes(b"\x89PNG")
    with pytest.raises(SourceError, match=r"001\.png"):
        scenes[1]


def test_a_source_is_what_it_looks_like(tmp_path):
    annotations = coco_folder(tmp_path)
    assert isinstance(open_scenes("parts://"), SimulatedScenes)
    assert isinstance(open_scenes(tmp_path, annotations), CocoScenes)
    assert isinstance(open_scenes(tmp_path), FolderScenes)
    assert len(open_scenes(f"{tmp_path}/**/*.png")) == 1


@pytest.mark.parametrize(
    ("source", "annotations", "error", "said"),
    [
        ("parts://", "a.json", UsageError, "--annotations: wanted with a folder"),
        ("parts://?seed=1", None, UsageError, "wanted parts:// alone"),
        ("absent", None, SourceError, "absent: no such folder; wanted a folder of pictures, or parts://"),
        ("absent/*.jpg", None, SourceError, "no file has such a name"),
        (".", None, SourceError, "no pictures in this folder"),
        (".", "a.json", SourceError, "found none"),
    ],
)
def test_what_is_no_source(source, annotations, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        open_scenes(source, annotations and Path(annotations))


class Many:
    """So many scenes, of which only the number is asked for."""

    mirrored = False

    def __init__(self, count: int, labels: tuple[str, ...] = ("bolt",)) -> None:
        self.count, self.labels = count, labels

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        raise AssertionError(index)


@pytest.mark.parametrize(
    ("count", "learn", "judge", "learnt", "judged", "shared"),
    [
        (1000, 64, 300, 64, 300, 0),
        (128, 64, 300, 64, 64, 0),
        (127, 64, 300, 64, 127, 64),  # 63 others are fewer than those calibrated on
        (38, 64, 300, 38, 38, 38),
        (38, 64, 10, 38, 10, 10),
        (1, 1, 1, 1, 1, 1),
    ],
)
def test_others_judge_where_there_are_enough(count, learn, judge, learnt, judged, shared):
    halves = split(Many(count), learn, judge)
    both = set(halves.learn_on) & set(halves.judge_on)
    assert (len(set(halves.learn_on)), len(set(halves.judge_on)), len(both)) == (learnt, judged, shared)
    assert halves.shared == shared
    assert set(halves.learn_on) | set(halves.judge_on) <= set(range(count))
    assert ("too few others" in halves.told()) == (shared > 0)


def test_pictures_without_truth_judge_nothing():
    halves = split(Many(100, ()), 10, 10)
    assert (len(halves.learn_on), len(halves.judge_on)) == (10, 0)
    assert halves.told() == "nobody told what the pictures show"


def test_a_spread_reaches_over_all():
    gaps = np.diff([*spread(Many(1003), 10), 1003])
    assert gaps.min() >= 100
    assert gaps.max() <= 101


def test_the_simulated_line_is_judged_by_lines_of_its_own():
    halves = split(SimulatedScenes(), 20, 30)
    assert (len(halves.learn_on), len(halves.judge_on), halves.shared) == (20, 30, 0)
    assert (halves.learn.validation, halves.judge.validation) == (False, True)


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (64, 64), (100, 100), (101, 51), (300, 100), (2000, 125)])
def test_simulated_scenes_are_spread_over_lines(count, lines):
    sampled: list[tuple[int, int]] = []

    class Stub:
        def __init__(self, seed):
            self.seed = seed

        def sample(self, frame):
            sampled.append((self.seed, frame))
            return SimpleNamespace(image=None), SimpleNamespace(xyxy=None, class_id=None)

    class Counted(SimulatedScenes):
        def _make_line(self, seed):
            return Stub(seed)

    scenes = Counted()
    for index in spread(scenes, count):
        _ = scenes[index]
    assert len(set(sampled)) == count
    assert len({seed for seed, _ in sampled}) == lines
