"""`nanoseg quantize`: what it refuses in one line, and that nothing is written where it ends early."""

import re
import sys

import pytest

from tests.helpers.colour_detector import LABELS, coco_images, colour_detector
from tests.helpers.end2end_detectors import ULTRALYTICS, one, save_outputs, some_rows
from tests.helpers.tiny_detectors import quantized_detector


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--count", "0"], 2, "--count: wanted 1 or more, got 0"),
        (["--test-count", "-1"], 2, "--test-count: wanted 1 or more, got -1"),
        (["--percentile", "100.5"], 2, "--percentile: wanted more than 0 and up to 100, got 100.5"),
        (["--percentile", "99", "--method", "minmax"], 2, "--percentile: wanted with --method percentile, got minmax"),
        (["--max-drop", "-1"], 2, "--max-drop: wanted 0 points or more, got -1"),
        (["--max-drop", "nan"], 2, "--max-drop: wanted 0 points or more, got nan"),
        (["--rescale", "65"], 2, "--rescale: wanted 1 to 64, the side of the detector's input, got 65"),
        (["--size", "32"], 4, "finder.onnx: wanted an input of 32 px, got one fixed at 64"),
        (["--images", "absent"], 3, "absent: no such folder; wanted a folder of images, or parts://"),
        (["--images", "parts://"], 2, "--annotations: wanted with a folder of images"),
        (["--out", "."], 2, ".: cannot be written: Is a directory; choose another --out"),
        (["--out", "finder.onnx"], 2, "--out: finder.onnx is the detector itself; give another name"),
        (["--out", "pictures/coco.json"], 2, "--out: pictures/coco.json is a file to read; give another name"),
        (["--report", "finder.onnx"], 2, "cannot be written: Not a directory; choose another --report"),
        (["--detector-spec", "absent.toml"], 2, "absent.toml: cannot be read"),
    ],
)
def test_quantize_detector_refuses_flags(flags, code, message, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    got, report, err = given(*flags)
    assert (got, report) == (code, None)
    assert message in err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (
            ("a", "b", "c"),
            LABELS,
            r"coco\.json: wanted classes of .*finder\.onnx \(a, b, c \.\.\.\), got red, green, blue;",
        ),
        (
            None,
            ("red", "green", "blue", "cat"),
            r"wanted the 3 classes of .*finder\.onnx, which has no labels, got 4",
        ),
        (("a", "b"), LABELS, r"finder\.onnx: wanted 3 labels, one a class, got 2; export it anew"),
    ],
)
def test_quantize_detector_refuses_other_classes(labels, names, message, given, tmp_path):
    colour_detector(tmp_path / "finder.onnx", labels)
    coco_images(tmp_path / "pictures", names=names)
    code, report, err = given()
    assert code in (2, 4)
    assert report is None
    assert len(err.splitlines()) == 1
    assert re.search(message, err)


def test_quantize_detector_refuses_parts_of_another_detector(given):
    code, report, err = given(images="parts://", truth=False)
    assert (code, report) == (2, None)
    assert "parts://: wanted classes of" in err
    assert "got hex bolt, hex nut, washer and 7 more" in err


def test_quantize_detector_refuses_quantized_networks(given, tmp_path):
    path = quantized_detector(tmp_path / "qat.onnx", 19)
    code, _, err = given(detector=path)
    assert code == 4
    assert "qat.onnx: wanted a float network, got one with Q/DQ nodes" in err


def test_quantize_detector_refuses_end_to_end_detectors(given, tmp_path):
    path = save_outputs(tmp_path / "end.onnx", one("bsc")(*some_rows(2)), ULTRALYTICS)
    code, _, err = given(detector=path)
    assert code == 4
    assert err.count("\n") == 1
    assert "end.onnx: wanted a detector with one score a class for each box, got an end-to-end one; export it" in err


@pytest.mark.parametrize("step", ["onnx_graphs.int8.quantize_detector.measure_map", "commands.quantize.report.page"])
def test_quantize_detector_interrupted_leaves_nothing(step, given, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nanoseg.{step}", interrupted)
    code, _, err = given("--report", tmp_path / "report")
    assert code == 130
    assert err.splitlines()[-1] == "nanoseg: interrupted; nothing was written"
    assert not (tmp_path / "int8.onnx").exists()
    assert not (tmp_path / "report").exists()


def test_quantize_detector_checks_matplotlib_first(given, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = given("--sensitivity", "--report", tmp_path / "report")
    assert code == 6
    assert err == 'nanoseg: error: matplotlib is not installed: pip install "nanoseg[quantize]"\n'
