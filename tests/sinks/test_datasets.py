"""COCO files and YOLO's labels, read back by the libraries that people read them with."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.processing.polygons import join_polygons
from nanoseg.sinks.datasets import CocoFile, YoloFolder
from nanoseg.sources.source import Source
from nanoseg.types import Frame
from nanoseg.utils.names import printable_path
from tests.fakes.segmenter import detections

cv2 = pytest.importorskip("cv2")
LABELS = ("bolt", 'a "nut": #1', "gear")
HW = (48, 64)


def frames(paths):
    return [Frame(np.zeros((*HW, 3), np.uint8), index, name=str(path)) for index, path in enumerate(paths)]


def found(count):
    boxes = [[4 + 20 * i, 6, 20 + 20 * i, 30] for i in range(count)]
    return detections(HW, boxes, [2, 0, 1][:count], [0.9, 0.8, 0.7][:count], LABELS)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "photos" / name for name in ("a.png", "b.jpg", "sub/a.png")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.zeros((*HW, 3), np.uint8))
    return paths


def write(sink, paths, counts=(3, 0, 1)):
    with sink:
        for frame, count in zip(frames(paths), counts, strict=True):
            sink.write(frame, found(count))


def test_coco_file_has_the_identities_of_tracked_objects(tmp_path, images):
    path = tmp_path / "found.json"
    with CocoFile(path, LABELS, Source((), 1, None, tuple(images)), "photos") as sink:
        sink.write(frames(images)[0], replace(found(2), track_id=np.array([7, -1])))
    assert [each.get("track_id") for each in json.loads(path.read_bytes())["annotations"]] == [7, None]


def test_coco_file_is_read_by_pycocotools(tmp_path, images):
    coco = pytest.importorskip("pycocotools.coco")
    path = tmp_path / "found.json"
    write(CocoFile(path, LABELS, Source((), 3, None, tuple(images)), "photos"), images)
    read = coco.COCO(str(path))
    assert [read.imgs[i]["file_name"] for i in (1, 2, 3)] == ["a.png", "b.jpg", "sub/a.png"]
    assert [read.cats[i]["name"] for i in (1, 2, 3)] == list(LABELS)
    annotations = [read.anns[i] for i in (1, 2, 3, 4)]
    assert [(one["image_id"], one["category_id"], one["score"]) for one in annotations] == [
        *((1, 3, 0.9), (1, 1, 0.8), (1, 2, 0.7)),
        (3, 3, 0.9),
    ]
    for index, annotation in enumerate(annotations[:3]):
        assert np.array_equal(read.annToMask(annotation).astype(bool), found(3).mask[index])
        assert annotation["area"] == found(3).mask[index].sum()
        assert annotation["bbox"] == [4 + 20 * index, 6, 16, 24]
    assert os.listdir(tmp_path) != []
    assert not list(tmp_path.glob("*.part*"))


def test_coco_file_is_read_by_supervision(tmp_path, images):
    supervision = pytest.importorskip("supervision")
    write(CocoFile(tmp_path / "f.json", LABELS, Source((), 3, None, tuple(images)), "photos"), images)
    dataset = supervision.DetectionDataset.from_coco(
        str(tmp_path / "photos"), str(tmp_path / "f.json"), force_masks=True
    )
    assert dataset.classes == list(LABELS)
    assert [len(dataset.annotations[path]) for path in dataset.image_paths] == [3, 0, 1]


@pytest.mark.parametrize(("source", "names"), [("video", ["clip-000000.png", "clip-000001.png"]), ("none", None)])
def test_coco_file_of_a_video_and_of_nothing(tmp_path, source, names):
    path = tmp_path / "f.json"
    sink = CocoFile(path, LABELS, Source((), None, 25.0, (tmp_path / "clip.mp4",)), "clip")
    write(sink, [tmp_path / "clip.mp4"] * len(names or []), (1,) * len(names or []))
    written = json.loads(path.read_bytes())
    assert [image["file_name"] for image in written["images"]] == (names or [])
    assert len(written["annotations"]) == len(names or [])


@pytest.mark.parametrize(("error", "names"), [(KeyboardInterrupt, ["f.json"]), (UsageError, ["f.part.json"])])
def test_coco_file_is_complete_after_an_error(tmp_path, error, names):
    sink = CocoFile(tmp_path / "f.json", LABELS, Source((), None, 25.0), "clip")
    sink.__enter__()
    sink.write(frames(["clip"])[0], found(2))
    sink.__exit__(error, None, None)
    assert os.listdir(tmp_path) == names
    assert len(json.loads((tmp_path / names[0]).read_bytes())["annotations"]) == 2


def test_yolo_labels_are_read_by_supervision(tmp_path, images):
    supervision = pytest.importorskip("supervision")
    out = tmp_path / "yolo"
    write(YoloFolder(out, LABELS, Source((), 3, None, tuple(images[:2])), "photos"), images[:2], (3, 0))
    dataset = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "photos"), str(out / "labels"), str(out / "data.yaml"), force_masks=True
    )
    assert dataset.classes == list(LABELS)
    (path,) = [path for path in dataset.image_paths if path.endswith("a.png")]
    read = dataset.annotations[path]
    assert read.class_id.tolist() == [2, 0, 1]
    for mask, expected in zip(read.mask, found(3).mask, strict=True):
        assert (mask & expected).sum() / (mask | expected).sum() > 0.85  # supervision fills corners, not borders
    assert (out / "labels" / "b.txt").read_bytes() == b""


def test_yolo_labels_mirror_folders_and_refuse_shared_ones(tmp_path, images):
    write(YoloFolder(tmp_path / "yolo", LABELS, Source((), 3, None, tuple(images)), "photos"), images)
    names = sorted(str(path.relative_to(tmp_path / "yolo")) for path in (tmp_path / "yolo").rglob("*.*"))
    assert names == ["data.yaml", "labels/a.txt", "labels/b.txt", "labels/sub/a.txt"]
    twins = (images[0], images[0].with_suffix(".jpg"))
    with pytest.raises(UsageError, match="would share its labels with"):
        YoloFolder(tmp_path / "new", LABELS, Source((), 2, None, twins), "photos")
    assert not (tmp_path / "new").exists()


def test_join_polygons_keeps_the_area():
    squares = [np.array([[x, 0], [x + 4, 0], [x + 4, 4], [x, 4]], np.int32) for x in (0, 10, 20)]
    joined = join_polygons(squares)
    assert cv2.contourArea(joined.astype(np.float32)) == 48
    assert len(join_polygons([])) == 0


def test_coco_file_is_whole_after_a_write_that_failed_half_way(tmp_path, monkeypatch):
    sink = CocoFile(tmp_path / "f.json", LABELS, Source((), None, 25.0), "clip")
    sink.__enter__()
    sink.write(frames(["clip"])[0], found(1))

    def half(stream, data):
        stream.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nanoseg.sinks.datasets.write_all", half)
    with pytest.raises(UsageError, match="No space left"):
        sink.write(frames(["clip"])[0], found(2))
    monkeypatch.undo()
    sink.__exit__(UsageError, None, None)
    written = json.loads((tmp_path / "f.part.json").read_bytes())
    assert [len(written[key]) for key in ("images", "annotations")] == [1, 1]


def test_yolo_labels_stay_in_their_folder_where_names_are_not_utf8(tmp_path):
    paths = [tmp_path / "\udcff" / name for name in ("a.png", "sub/b.png")]
    out = tmp_path / "yolo"
    with YoloFolder(out, LABELS, Source((), 2, None, tuple(paths)), "photos") as sink:
        for frame in frames(printable_path(path) for path in paths):
            sink.write(frame, found(1))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.txt")) == ["labels/a.txt", "labels/sub/b.txt"]
