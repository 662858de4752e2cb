"""The tool that quantizes, on a detector of three layers of which one cannot bear INT8."""

import json
import re
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.evaluation.coco import BoxScores
from nanoseg.evaluation.scenes import CocoScenes
from nanoseg.graphs.adapt import load_detector
from nanoseg.graphs.compose import precision_of
from tests.tiny_detectors import CELLS, quantized_detector
from tests.tiny_networks import DETECTOR_PX, save
from tools import quantize_job, quantize_measure, quantize_yolo_nas
from tools.quantize_measure import LabelledPictures, Measured, drop_of, preparer_of
from tools.quantize_report import Report

LABELS = ("red", "green", "blue")
BGR = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
SPOILT = 1000.0  # a weight for a channel that is never active: the others round to nothing beside it


def finder(path: Path, labels: tuple[str, ...] | None = LABELS) -> Path:
    """Finds red, green and blue cells of 16 x 16 pixels, each a box: layers stem, spoilt and head."""
    eye = np.eye(3, dtype=np.float32)
    constants: dict[str, np.ndarray] = {
        "stem.weight": np.concatenate([eye, np.zeros((1, 3))]).reshape(4, 3, 1, 1).astype(np.float32),
        "spoilt.weight": np.concatenate([eye, np.full((3, 1), SPOILT)], 1).reshape(3, 4, 1, 1).astype(np.float32),
        "head.weight": np.ascontiguousarray(np.broadcast_to(eye[..., None, None] * (20 / 256), (3, 3, 16, 16))),
        "head.bias": np.full(3, -12, np.float32),
        "rows": np.array([1, 3, 16]),
        "corners": np.concatenate([CELLS, CELLS + 16], 1)[None].astype(np.float32),
        "nothing": np.zeros((3, 4), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "stem.weight"], ["stem"]),
        helper.make_node("Relu", ["stem"], ["seen"]),
        helper.make_node("Conv", ["seen", "spoilt.weight"], ["spoilt"]),
        helper.make_node("Relu", ["spoilt"], ["colours"]),
        helper.make_node("Conv", ["colours", "head.weight", "head.bias"], ["head"], strides=[16, 16]),
        helper.make_node("Reshape", ["head", "rows"], ["by_class"]),
        helper.make_node("Transpose", ["by_class"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("MatMul", ["scores", "nothing"], ["growth"]),
        helper.make_node("Add", ["corners", "growth"], ["boxes"]),
    ]
    shapes = {"boxes": (1, 16, 4), "scores": (1, 16, 3)}
    save(path, {"images": (1, 3, DETECTOR_PX, DETECTOR_PX)}, shapes, nodes, constants)
    if labels is not None:
        model = onnx.load(path)
        model.metadata_props.add(key="labels", value=json.dumps(labels))
        onnx.save(model, path)
    return path


def pictures(folder: Path, count: int = 4, names: tuple[str, ...] = LABELS) -> Path:
    """Pictures of three coloured cells each, and what they show as COCO; `names` are the categories, in their order."""
    rng = np.random.default_rng(3)
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for i in range(count):
        image = np.full((DETECTOR_PX, DETECTOR_PX, 3), 50, np.uint8)
        for cell, name in zip(rng.choice(16, 3, replace=False), LABELS, strict=True):
            left, top = CELLS[cell].astype(int).tolist()
            image[top : top + 16, left : left + 16] = BGR[name]
            row = {"id": len(annotations) + 1, "image_id": i, "category_id": 7 + names.index(name), "area": 256}
            annotations.append(row | {"bbox": [left, top, 16, 16]})
        cv2.imwrite(str(folder / f"{i}.png"), image)
        images.append({"id": i, "file_name": f"{i}.png"})
    categories = [{"id": 7 + i, "name": name} for i, name in enumerate(names)]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.fixture
def given(tmp_path, capsys):
    """Runs the tool on the finder and its pictures; gives exit code, report or None, and stderr."""
    detector, annotations = finder(tmp_path / "finder.onnx"), pictures(tmp_path / "pictures")

    def run(*flags, truth=True, **instead):
        told = {"--out": tmp_path / "int8.onnx", "--images": annotations.parent, "--count": 2}
        told |= {"--annotations": annotations} if truth else {}
        told |= {f"--{name}": value for name, value in instead.items() if name != "detector"}
        words = [str(word) for pair in told.items() for word in pair]
        code = quantize_yolo_nas.main([str(instead.get("detector", detector)), *words, "--json", *map(str, flags)])
        out, err = capsys.readouterr()
        return code, msgspec.json.decode(out, type=Report) if out else None, err

    return run


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_what_int8_costs_is_told(given, tmp_path):
    code, report, err = given("--report", tmp_path / "report")
    assert (code, report.kept, report.max_drop) == (0, [], None)
    assert report.accuracy.float32.map50_95 == pytest.approx(1)
    assert report.accuracy.all_int8 == report.accuracy.written
    assert (report.accuracy.all_int8.map50_95, report.accuracy.all_int8.drop_points) == (0, pytest.approx(100))
    assert [(layer.name, layer.int8, layer.error) for layer in report.layers] == [
        ("stem", True, None),
        ("spoilt", True, None),
        ("head", True, None),
    ]
    assert report.pictures.calibrated_on == report.pictures.judged_on == 2
    assert report.pictures.shared == 0
    assert "float32: mAP50-95 1.0000" in err
    assert (tmp_path / "int8.onnx").stat().st_size == report.bytes
    assert operators(tmp_path / "int8.onnx").count("DequantizeLinear") == 6
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.json", "report.md"]
    assert msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes(), type=Report) == report


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_the_layer_that_cannot_bear_it_is_kept_out(rest, given, tmp_path):
    code, report, err = given("--max-drop", 1, "--report", tmp_path / "report", rest=rest)
    assert (code, report.kept) == (0, ["spoilt"])
    assert report.max_drop.reached
    assert [step.kept for step in report.max_drop.tried] == [0, 1]
    assert report.max_drop.why == "with none kept out it would be 100.00"
    assert report.accuracy.written.map50_95 == pytest.approx(1)
    assert report.accuracy.all_int8.map50_95 == 0
    assert max(report.layers, key=lambda layer: layer.error).name == "spoilt"
    assert "INT8, 1 layer kept out: mAP50-95 1.0000" in err
    core = load_detector(tmp_path / "int8.onnx")
    assert precision_of(core.model) == "int8"
    assert core.metadata["rescale_px"] == "64"
    assert json.loads(core.metadata["labels"]) == list(LABELS)
    assert json.loads(core.metadata["quantized"])["kept"] == ["spoilt"]
    weights = {weight.name: weight.data_type for weight in core.model.graph.initializer}
    half = onnx.TensorProto.FLOAT16
    assert (half in weights.values()) == (rest == "fp16")
    plot = cv2.imread(str(tmp_path / "report" / "sensitivity.png"))
    colours = {tuple(colour) for colour in plot.reshape(-1, 3).tolist()}
    assert {(0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)} <= colours  # both kinds of layer, BGR
    page = (tmp_path / "report" / "report.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.count("|") == 6][2:]
    assert rows[0][0] == "| spoilt"
    assert [row[-1] for row in rows] == [f"{rest} |", "INT8 |", "INT8 |"]


def test_the_table_is_for_people(tmp_path, capsys):
    detector, annotations = finder(tmp_path / "finder.onnx"), pictures(tmp_path / "pictures")
    flags = ["--images", annotations.parent, "--annotations", annotations, "--max-drop", "1", "--sensitivity"]
    out = tmp_path / "new" / "int8.onnx"
    assert quantize_yolo_nas.main([str(detector), "--out", str(out), *map(str, flags)]) == 0
    told = capsys.readouterr().out
    assert f"{detector} -> {out}" in told
    for line in (
        "  calibrated on  4 pictures of",
        "  in INT8        2 of 3 layers, ",
        "  kept out       spoilt",
        "  judged by      4 pictures, 4 of them calibrated on, too: there were too few others",
        "  all in INT8    mAP50-95 0.0000, mAP50 0.0000: 100.00 ± 0.00 points of mAP50-95 lost",
        "  as written     mAP50-95 1.0000, mAP50 1.0000: 0.00 ± 0.00 points of mAP50-95 lost",
        "  budget         1 points of mAP50-95, reached: with none kept out it would be 100.00",
        "  tried          points lost with so many layers kept out: 100.00 with 0, 0.00 with 1",
        "  most sensitive layers ",
    ):
        assert line in told
    assert out.is_file()


def test_pictures_without_truth_calibrate_alone(given, tmp_path):
    code, report, _ = given(truth=False)
    assert (code, report.accuracy) == (0, None)
    assert (report.pictures.calibrated_on, report.pictures.judged_on) == (2, 0)
    assert "nobody told" in report.pictures.split
    assert "QuantizeLinear" in operators(tmp_path / "int8.onnx")
    code, report, err = given("--max-drop", 1, truth=False)
    assert (code, report) == (2, None)
    assert err.splitlines()[-1].startswith("quantize_yolo_nas: --max-drop: wanted pictures whose objects are known")


def test_a_budget_out_of_reach_leaves_a_report_and_no_network(given, tmp_path, monkeypatch):
    real = quantize_measure.measure

    def measured(detector, model, *rest):
        found = real(detector, model, *rest)
        half = found._replace(scores=found.scores._replace(map50_95=0.5))
        return half if "quantized" in str(model.metadata_props) else found

    monkeypatch.setattr(quantize_job, "measure", measured)
    code, report, err = given("--max-drop", 1, "--report", tmp_path / "report")
    assert (code, report) == (2, None)
    assert "--max-drop 1: out of reach: with all 3 layers kept out the drop is still 50.00; no network was" in err
    assert not (tmp_path / "int8.onnx").exists()
    left = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes(), type=Report)
    assert (left.out, left.max_drop.reached, [step.kept for step in left.max_drop.tried]) == (None, False, [0, 1, 2, 3])


def test_a_network_that_bears_no_int8_at_all_is_not_written(given, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize_job, "select", lambda ranked, drop, budget: _all_kept(ranked, drop, budget))
    code, _, err = given("--max-drop", 1)
    assert code == 2
    assert "--max-drop 1: out of reach: no layer in INT8 is within it; no network was written" in err
    assert not (tmp_path / "int8.onnx").exists()


def _all_kept(ranked, drop, budget):
    from nanoseg.graphs.selective import Selection, Trial

    names = tuple(ranked())
    return Selection(names, 0.0, budget, (Trial(0, drop(())), Trial(3, drop(names))))


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--count", "0"], 2, "--count: wanted 1 or more, got 0"),
        (["--test-count", "-1"], 2, "--test-count: wanted 1 or more, got -1"),
        (["--percentile", "100.5"], 2, "--percentile: wanted more than 0 and up to 100, got 100.5"),
        (["--percentile", "99", "--method", "minmax"], 2, "--percentile: wanted with --method percentile, got minmax"),
        (["--max-drop", "-1"], 2, "--max-drop: wanted 0 points or more, got -1"),
        (["--max-drop", "nan"], 2, "--max-drop: wanted 0 points or more, got nan"),
        (["--rescale", "65"], 2, "--rescale: wanted 1 to 64, the side of the detector's input, got 65"),
        (["--size", "32"], 4, "finder.onnx: wanted an input of 32 px, got one fixed at 64"),
        (["--images", "absent"], 3, "absent: no such folder; wanted a folder of pictures, or parts://"),
        (["--images", "parts://"], 2, "--annotations: wanted with a folder of pictures"),
        (["--out", "."], 2, ".: cannot be written: Is a directory; choose another --out"),
        (["--out", "finder.onnx"], 2, "--out: finder.onnx is the detector itself; give another name"),
        (["--out", "pictures/coco.json"], 2, "--out: pictures/coco.json is a file to read; give another name"),
        (["--report", "finder.onnx"], 2, "cannot be written: Not a directory; choose another --report"),
        (["--detector-form", "absent.toml"], 2, "absent.toml: cannot be read"),
    ],
)
def test_a_wrong_flag_is_one_line(flags, code, said, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    got, report, err = given(*flags)
    assert (got, report) == (code, None)
    assert said in err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [
        (LABELS, ("red", "green", "blue", "cat", "dog", "cow", "hen"), r"got cat, dog, cow and 1 more; give what it"),
        (
            ("a", "b", "c"),
            LABELS,
            r"coco\.json: wanted classes of .*finder\.onnx \(a, b, c \.\.\.\), got red, green, blue;",
        ),
        (
            None,
            ("red", "green", "blue", "cat"),
            r"wanted the 3 classes of .*finder\.onnx, whose names nobody told, got 4",
        ),
        (("a", "b"), LABELS, r"finder\.onnx: wanted 3 labels, one a class, got 2; export it anew"),
    ],
)
def test_classes_that_are_not_the_detectors(labels, names, said, given, tmp_path):
    finder(tmp_path / "finder.onnx", labels)
    pictures(tmp_path / "pictures", names=names)
    code, report, err = given()
    assert code in (2, 4)
    assert report is None
    assert len(err.splitlines()) == 1
    assert re.search(said, err)


def test_classes_are_found_by_name(given, tmp_path):
    pictures(tmp_path / "pictures", names=("green", "blue", "red"))
    code, report, _ = given()
    assert code == 0
    assert report.accuracy.float32.map50_95 == pytest.approx(1)


def test_the_simulated_line_wants_a_detector_of_its_parts(given):
    code, report, err = given(images="parts://", truth=False)
    assert (code, report) == (2, None)
    assert "parts://: wanted classes of" in err
    assert "got hex bolt, hex nut, washer and 7 more" in err


def test_a_quantized_network_is_not_quantized_again(given, tmp_path):
    path = quantized_detector(tmp_path / "qat.onnx", 19)
    code, _, err = given(detector=path)
    assert code == 4
    assert "qat.onnx: wanted a float network, got one with Q/DQ nodes" in err


@pytest.mark.parametrize("step", ["quantize_job.measure", "quantize_report.page"])
def test_interrupted_leaves_nothing(step, given, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"tools.{step}", interrupted)
    code, _, err = given("--report", tmp_path / "report")
    assert code == 130
    assert err.splitlines()[-1] == "quantize_yolo_nas: interrupted; nothing was written"
    assert not (tmp_path / "int8.onnx").exists()
    assert not (tmp_path / "report").exists()


def test_without_matplotlib_there_is_a_line_before_the_work(given, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = given("--sensitivity", "--report", tmp_path / "report")
    assert code == 6
    assert err == 'quantize_yolo_nas: matplotlib is not installed: pip install "nanoseg[quantize]"\n'


def test_pictures_without_objects_judge_nothing(given, tmp_path):
    path = tmp_path / "pictures" / "coco.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    code, report, _ = given()
    assert (code, report.accuracy) == (0, None)
    assert report.pictures.split == "the pictures that were to judge show no object"
    code, report, err = given("--max-drop", 1)
    assert (code, report) == (2, None)
    assert "--max-drop: wanted pictures whose objects are known, got none" in err


def measured(whole, *without):
    return Measured(BoxScores(whole, whole), [BoxScores(value, value) for value in without])


def test_the_drop_comes_with_its_standard_error():
    values = np.random.default_rng(0).normal(0.5, 0.1, (2, 10))
    # Of a mean, the jackknife's error is the textbook's: the deviation over the root of their number.
    less = [[np.delete(row, i).mean() for i in range(10)] for row in values]
    before, after = (measured(row.mean(), *means) for row, means in zip(values, less, strict=True))
    points = 100 * (values[0] - values[1])
    expected = (points.mean(), points.std(ddof=1) / np.sqrt(10))
    assert drop_of(before, after) == pytest.approx(expected)
    assert drop_of(before, before) == (0, 0)
    few = (measured(row.mean(), *(np.delete(row[:4], i).mean() for i in range(4))) for row in values)
    assert drop_of(*few)[1] == pytest.approx(points[:4].std(ddof=1) / np.sqrt(4))
    assert drop_of(measured(0.5, *[0.5] * 9, None), measured(0.4, *[0.4] * 10)) == (pytest.approx(10), None)


@pytest.mark.parametrize(("room_for", "read"), [(0, 8), (2, 6), (9, 4)])
def test_a_picture_that_was_kept_is_the_picture(room_for, read, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize_measure, "KEPT_BYTES", room_for * 3 * DETECTOR_PX**2)
    detector = load_detector(finder(tmp_path / "finder.onnx"))
    scenes = CocoScenes(pictures(tmp_path / "pictures"), tmp_path / "pictures")
    noise = np.random.default_rng(0).integers(0, 256, (50, 91, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "pictures" / "0.png"), noise)  # levels of every kind, and a letterbox
    reads: list[int] = []

    class Counted:
        def __getitem__(self, index):
            reads.append(index)
            return scenes[index]

    shown = LabelledPictures(Counted(), range(4), np.array([2, 0, 1]), preparer_of(detector, 60))
    first, again = ([(images.copy(), *rest) for images, *rest in shown] for _ in range(2))
    assert len(reads) == read
    for (images, geometry, truth), (images_again, geometry_again, truth_again) in zip(first, again, strict=True):
        assert np.array_equal(images, images_again)
        assert geometry == geometry_again
        assert np.array_equal(truth.xyxy, truth_again.xyxy)
        assert truth.class_id.tolist() == truth_again.class_id.tolist() == [2, 0, 1]
