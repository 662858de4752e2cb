"""`nanoseg eval` on a small data set of the simulated line: its files, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")
pytest.importorskip("PIL", reason="needs nanoseg[eval]")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nanoseg.commands.eval import command
from nanoseg.evaluation import evaluate_coco
from nanoseg.utils.html_page import read_page_data
from nanoseg.utils.locks import try_lock
from tests.evaluation.coco_sets import simulated_coco


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of three images, one of them empty, whose ids pycocotools takes."""
    annotations = simulated_coco(tmp_path_factory.mktemp("set"), images=2, seed=3)
    content = json.loads(annotations.read_text())
    for number, one in enumerate(content["annotations"], 1):
        one["id"] = number
    annotations.write_text(json.dumps(content))
    return annotations


@pytest.fixture
def data_set(made, tmp_path):
    """A copy to change."""
    return shutil.copytree(made.parent, tmp_path / "set") / "a.json"


DETECTED = ["--prompts", "detected", "--confidence", "0.3"]  # few, as each is segmented


def words(annotations, *more):
    return ["eval", "--images", annotations.parent, "--annotations", annotations, "--backend", "onnxruntime", *more]


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def test_eval_of_detections_writes_what_pycocotools_reads(made, tmp_path, call):
    out = tmp_path / "out"
    code, text, err = call(*words(made, *DETECTED, "--out", out, "--json"))
    assert (code, err) == (0, "")
    report = report_of(out)
    assert json.loads(text) == report == read_page_data((out / "report.html").read_text())
    assert report["dataset"]["images"] == 3
    assert report["dataset"]["images_without_objects"] == 1
    assert report["dataset"]["crowds"] > 0
    for kind, figures, key in (("bbox", "box", "segmentation"), ("segm", "mask", "bbox")):
        truth = COCO(str(made))
        results = json.loads((out / "detections.json").read_text())
        for one in results:
            del one[key]  # else sizes of masks would be those of the boxes
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        ours = [-1 if value is None else value for value in report[figures].values()]
        assert ours == pytest.approx(evaluation.stats.tolist(), abs=1e-12)
        assert report[figures]["ap"] > 0.05
    objects = json.loads((out / "objects.json").read_text())
    assert len(objects) == report["dataset"]["objects"] == report["miou"]["all"]["objects"]
    assert {one["iscrowd"] for one in objects} == {0}


def test_eval_of_true_boxes(made, tmp_path, call):
    out = tmp_path / "out"
    code, text, err = call(*words(made, "--out", out))
    assert (code, err) == (0, "")
    report, objects = report_of(out), json.loads((out / "objects.json").read_text())
    assert (report["protocol"], report["note"]) == ("NanoSAM's", None)
    assert (report["box"], report["mask"], report["resize"]) == (None, None, "nanosam")
    annotations = json.loads(made.read_text())["annotations"]
    # The rows are those of NanoSAM's own file.
    assert set(objects[0]) == {"id", "area", "category_id", "iscrowd", "image_id", "box", "iou"}
    assert [one["id"] for one in objects] == [one["id"] for one in annotations]
    assert report["miou"]["all"]["miou"] == pytest.approx(np.mean([one["iou"] for one in objects]), abs=1e-12)
    assert f"mIoU      all {report['miou']['all']['miou']:.4f} ({len(annotations)})" in text
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == min(12, len(annotations))
    other = tmp_path / "other"
    assert call(*words(made, "--out", other, "--resize", "cv2"))[0] == 0
    assert "resized as OpenCV does" in report_of(other)["protocol"]
    assert report_of(other)["miou"]["all"]["miou"] == pytest.approx(report["miou"]["all"]["miou"], abs=0.05)


def test_eval_goes_on(made, tmp_path, call, monkeypatch):
    out, whole, read = tmp_path / "out", tmp_path / "whole", []
    original = evaluate_coco.read_coco_image

    def counted(entry, *others):
        read.append(entry.id)
        return original(entry, *others)

    monkeypatch.setattr(evaluate_coco, "read_coco_image", counted)
    assert call(*words(made, "--out", whole))[0] == 0
    ids, log = read[:], out / "images.jsonl"
    read.clear()
    assert call(*words(made, "--out", out, "--limit", 2))[0] == 0
    assert (read, report_of(out)["dataset"]["images"]) == (ids[:2], 2)
    log.write_bytes(log.read_bytes()[:-40])  # killed while the second line was written
    read.clear()
    code, _, err = call(*words(made, "--out", out))
    assert (code, err) == (0, f"nanoseg: {out}: goes on behind 1 image of an earlier run\n")
    assert read == ids[1:]
    for name in ("report.json", "detections.json", "objects.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    read.clear()
    # Other options are another run, whose lines lie beside the first one's.
    assert call(*words(made, "--out", out, "--resize", "pil", "--limit", 1))[0] == 0
    assert read == ids[:1]
    read.clear()
    assert call(*words(made, "--out", out))[0] == 0
    assert read == []
    assert (out / "report.json").read_bytes() == (whole / "report.json").read_bytes()


def test_eval_interrupted_keeps_its_images(made, tmp_path, call, monkeypatch):
    out, original = tmp_path / "out", evaluate_coco.read_coco_image
    calls = []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(evaluate_coco, "read_coco_image", stopped)
    assert call(*words(made, "--out", out)) == (130, "", "nanoseg: interrupted; run again to go on\n")
    assert len((out / "images.jsonl").read_text().splitlines()) == 1
    assert not (out / "report.json").exists()
    calls.clear()
    assert call(*words(made))[::2] == (130, "nanoseg: interrupted; nothing was written\n")


def changed(path, **lists):
    content = json.loads(path.read_text())
    content |= {name: change(content[name]) for name, change in lists.items()}
    path.write_text(json.dumps(content))


def boxes_alone(objects):
    return [{name: value for name, value in one.items() if name != "segmentation"} for one in objects]


def test_eval_of_boxes_alone(data_set, call):
    changed(data_set, annotations=boxes_alone)
    code, _, err = call(*words(data_set))
    assert code == 3
    assert "object 1: wanted a segmentation, got a box alone" in err
    code, text, _ = call(*words(data_set, *DETECTED, "--limit", 1, "--json"))
    report = json.loads(text)
    assert code == 0
    assert report["box"]["ap"] > 0.05
    assert (report["mask"], report["miou"]) == (None, None)
    # Boxes alone need no sizes of the images, which some exporters leave out.
    changed(data_set, images=lambda images: [{"id": one["id"], "file_name": one["file_name"]} for one in images])
    code, text, _ = call(*words(data_set, *DETECTED, "--limit", 1, "--json"))
    assert (code, json.loads(text)["box"]) == (0, report["box"])


def test_eval_refuses(data_set, tmp_path, call, monkeypatch):
    monkeypatch.setattr(command.nanoseg, "load", None)  # all of this is found before a network is loaded
    for arguments, code, message in [
        (["--out", data_set], 2, "a.json/images.jsonl: cannot be written"),
        (["--annotations", tmp_path / "none.json"], 3, "wanted a COCO annotation file, found none"),
        (["--images", tmp_path / "none"], 3, "wanted an image named in the annotations, found none"),
        (["--limit", 0], 2, "Invalid value for '--limit'"),
        (["--prompts", "points"], 2, "Invalid value for '--prompts'"),
    ]:
        got = call(*words(data_set, *arguments))
        assert (got[0], message in got[2]) == (code, True), got
    report = data_set.rename(data_set.with_name("report.json"))
    code, _, err = call(*words(report, "--out", report.parent))
    assert (code, "is also the file of --annotations" in err) == (2, True)


def test_eval_refuses_what_needs_the_bundle(data_set, tmp_path, call):
    code, _, err = call(*words(data_set, "--backend", "tensorrt", "--resize", "nanosam"))
    assert (code, "resize: backend tensorrt prepares frames on the GPU" in err) == (2, True)
    out = tmp_path / "out"
    out.mkdir()
    lock = try_lock(out / "images.jsonl")
    code, _, err = call(*words(data_set, "--out", out))
    assert (code, "is already an output of this run" in err) == (2, True)
    os.close(lock)
    changed(data_set, categories=lambda categories: [one | {"name": f"a {one['name']}"} for one in categories])
    code, text, err = call(*words(data_set, "--limit", 1))
    assert (code, "the embedded bundle was trained on drawn" in text) == (0, True)
    assert err.startswith("nanoseg: note: the bundle parts knows 10 drawn machine parts")
    code, _, err = call(*words(data_set, *DETECTED))
    assert code == 4
    assert "knows no category of a.json" in err
    content = json.loads(data_set.read_text())
    first = content["annotations"][0]["category_id"]
    changed(
        data_set,
        categories=lambda some: [one | {"name": one["name"][2:]} if one["id"] != first else one for one in some],
    )
    code, text, _ = call(*words(data_set, *DETECTED, "--limit", 1))
    assert code == 0
    assert re.search(r"\n  unknown +a ", text)


def test_eval_of_a_name_that_two_categories_have(data_set, call):
    """Some exporters list a name twice; it matters only where both have objects."""
    changed(data_set, categories=lambda some: [*some[:2], {"id": 0, "name": some[0]["name"]}, *some[2:]])
    code, _, err = call(*words(data_set, *DETECTED, "--limit", 1))
    assert (code, err) == (0, "")
    first = json.loads(data_set.read_text())["annotations"][0]["category_id"]
    changed(data_set, categories=lambda some: [*some, {"id": 99, "name": name_of(some, first)}])
    code, _, err = call(*words(data_set, *DETECTED, "--limit", 1))
    assert code == 3
    assert f"wanted each category's name once, got '{name_of(categories(data_set), first)}'" in err


def categories(path):
    return json.loads(path.read_text())["categories"]


def name_of(some, number):
    return next(one["name"] for one in some if one["id"] == number)


@pytest.mark.parametrize("lists", [{"annotations": []}, {"annotations": [], "categories": []}])
def test_eval_of_no_objects_says_nothing_of_what_they_are(data_set, call, lists):
    changed(data_set, **{name: lambda _, value=value: value for name, value in lists.items()})
    code, text, err = call(*words(data_set, *DETECTED, "--limit", 1, "--json"))
    report = json.loads(text)
    assert (code, err, report["note"]) == (0, "", None)
    assert {*report["box"].values(), *report["mask"].values()} == {None}


def test_eval_says_above_which_confidence_masks_count(made, call):
    """The larger of --confidence and the bundle's, 0.2."""
    for given, counted in ((0.1, 0.2), (0.6, 0.6)):
        code, text, _ = call(*words(made, "--prompts", "detected", "--limit", 1, "--confidence", given, "--json"))
        assert (code, json.loads(text)["thresholds"]["miou_confidence"]) == (0, counted)
