"""`nanoseg quantize`: the drop is measured, reported and kept within the budget."""

import json

import cv2
import msgspec
import onnx
import pytest

from nanoseg.evaluation import detector as quantize_measure
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.int8 import quantize_detector as quantize_detector_module
from nanoseg.onnx_graphs.int8.options import QuantizeOptions
from nanoseg.onnx_graphs.int8.report import QuantizeReport
from tests.helpers.colour_detector import LABELS, coco_images, colour_detector, operators
from tests.helpers.verbs import verb


def test_quantize_detector_reports_the_drop(given, tmp_path):
    code, report, err = given("--report", tmp_path / "report", "--anyway")
    assert (code, report.kept, report.max_drop) == (0, [], None)
    assert report.accuracy.float32.map50_95 == pytest.approx(1)
    assert report.accuracy.all_int8 == report.accuracy.written
    assert (report.accuracy.all_int8.map50_95, report.accuracy.all_int8.drop_points) == (0, pytest.approx(100))
    assert [(layer.name, layer.int8, layer.error) for layer in report.layers] == [
        ("stem", True, None),
        ("spoilt", True, None),
        ("head", True, None),
    ]
    assert report.rest == QuantizeOptions(detector=tmp_path, out=tmp_path, images="").rest == "fp16"
    assert report.pictures.calibrated_on == report.pictures.judged_on == 2
    assert report.pictures.shared == 0
    assert "float32: mAP50-95 1.0000" in err
    assert (tmp_path / "int8.onnx").stat().st_size == report.bytes
    assert operators(tmp_path / "int8.onnx").count("DequantizeLinear") == 6
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.json", "report.md"]
    assert msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes(), type=QuantizeReport) == report


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_quantize_detector_keeps_the_sensitive_layer(rest, given, tmp_path):
    code, report, err = given("--max-drop", 1, "--report", tmp_path / "report", rest=rest)
    assert (code, report.kept) == (0, ["spoilt"])
    assert report.max_drop.reached
    assert [step.kept for step in report.max_drop.tried] == [0, 1]
    assert report.max_drop.reason == "with none kept out it would be 100.00"
    assert report.accuracy.written.map50_95 == pytest.approx(1)
    assert report.accuracy.all_int8.map50_95 == 0
    assert max(report.layers, key=lambda layer: layer.error).name == "spoilt"
    assert "INT8, 1 layer kept out: mAP50-95 1.0000" in err
    loaded = load_detector(tmp_path / "int8.onnx")
    assert precision_of(loaded.model) == "int8"
    assert loaded.metadata["rescale_px"] == "64"
    assert json.loads(loaded.metadata["labels"]) == list(LABELS)
    assert json.loads(loaded.metadata["quantized"])["kept"] == ["spoilt"]
    weights = {weight.name: weight.data_type for weight in loaded.model.graph.initializer}
    half = onnx.TensorProto.FLOAT16
    assert (half in weights.values()) == (rest == "fp16")
    plot = cv2.imread(str(tmp_path / "report" / "sensitivity.png"))
    colours = {tuple(colour) for colour in plot.reshape(-1, 3).tolist()}
    assert {(0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)} <= colours  # both kinds of layer, BGR
    page = (tmp_path / "report" / "report.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.count("|") == 5][2:]
    assert rows[0][0] == "| spoilt"
    assert [row[-1] for row in rows] == [f"{rest} |", "INT8 |", "INT8 |"]


def test_quantize_detector_prints_a_table(tmp_path, capsys):
    detector, annotations = colour_detector(tmp_path / "finder.onnx"), coco_images(tmp_path / "pictures")
    flags = ["--images", annotations.parent, "--annotations", annotations, "--max-drop", "1", "--sensitivity"]
    out = tmp_path / "new" / "int8.onnx"
    assert verb("quantize")([str(detector), "--out", str(out), *map(str, flags)]) == 0
    printed = capsys.readouterr().out
    assert f"{detector} -> {out}" in printed
    for line in (
        "  calibrated on  4 images of",
        "  in INT8        2 of 3 layers, ",
        "  kept out       spoilt",
        "  measured on    4 images, 4 of them also calibrated on, as there were too few others",
        "  all in INT8    mAP50-95 0.0000, mAP50 0.0000: 100.00 ± 0.00 points of mAP50-95 lost",
        "  as written     mAP50-95 1.0000, mAP50 1.0000: 0.00 ± 0.00 points of mAP50-95 lost",
        "  budget         1 points of mAP50-95, reached: with none kept out it would be 100.00",
        "  tried          points lost by the number of layers kept out: 100.00 with 0, 0.00 with 1",
        "  most sensitive layers ",
    ):
        assert line in printed
    assert out.is_file()


def test_quantize_detector_without_annotations(given, tmp_path):
    code, report, _ = given("--anyway", truth=False)
    assert (code, report.accuracy) == (0, None)
    assert (report.pictures.calibrated_on, report.pictures.judged_on) == (2, 0)
    assert "no ground truth" in report.pictures.split
    assert "QuantizeLinear" in operators(tmp_path / "int8.onnx")
    code, report, err = given("--max-drop", 1, truth=False)
    assert (code, report) == (2, None)
    assert err.splitlines()[-1].startswith("nanoseg: error: --max-drop: wanted images whose objects are known")


def test_quantize_detector_out_of_reach_writes_only_the_report(given, tmp_path, monkeypatch):
    real = quantize_measure.measure_map

    def measured(detector, model, *rest):
        found = real(detector, model, *rest)
        half = found._replace(scores=found.scores._replace(map50_95=0.5))
        return half if "quantized" in str(model.metadata_props) else found

    monkeypatch.setattr(quantize_detector_module, "measure_map", measured)
    code, report, err = given("--max-drop", 1, "--report", tmp_path / "report")
    assert (code, report) == (2, None)
    assert "--max-drop 1: out of reach: with all 3 layers kept out the drop is still 50.00; no network was" in err
    assert not (tmp_path / "int8.onnx").exists()
    left = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes(), type=QuantizeReport)
    assert (left.out, left.max_drop.reached, [step.kept for step in left.max_drop.tried]) == (None, False, [0, 1, 2, 3])


def test_quantize_detector_without_int8_is_not_written(given, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize_detector_module, "select_layers", _all_kept)
    code, _, err = given("--max-drop", 1)
    assert code == 2
    assert "--max-drop 1: out of reach: no layer in INT8 is within it; no network was written" in err
    assert not (tmp_path / "int8.onnx").exists()


def _all_kept(ranked, drop, budget):
    from nanoseg.onnx_graphs.int8.mixed_precision import Selection, Trial

    names = tuple(ranked())
    return Selection(names, 0.0, budget, (Trial(0, drop(())), Trial(3, drop(names))))


@pytest.mark.parametrize("names", [("green", "blue", "red"), ("things", "blue", "red", "green", "cat")])
def test_quantize_detector_matches_classes_by_name(names, given, tmp_path):
    """Those that nothing has are not missed."""
    coco_images(tmp_path / "pictures", names=names)
    code, report, _ = given("--anyway")
    assert code == 0
    assert report.accuracy.float32.map50_95 == pytest.approx(1)


def test_quantize_detector_on_images_without_objects(given, tmp_path):
    path = tmp_path / "pictures" / "coco.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    code, report, _ = given("--anyway")
    assert (code, report.accuracy) == (0, None)
    assert report.pictures.split == "the evaluation images have no object"
    code, report, err = given("--max-drop", 1)
    assert (code, report) == (2, None)
    assert "--max-drop: wanted images whose objects are known, got none" in err
