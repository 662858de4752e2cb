"""Calibration on images that show nothing, and networks that INT8 spoils: refused; at most a report is written."""

import json

import cv2
import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.onnx_graphs.int8.contrast import ContrastMeter

RNG = np.random.default_rng(0)
HW = (48, 64, 3)
PICTURE = RNG.integers(0, 256, HW).astype(np.uint8)
FLAT = np.full(HW, 90, np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [np.zeros(HW, np.uint8)] * 4,
            "got 4 without contrast: within an image levels have a standard deviation of 0",
        ),
        ([np.full(HW, 128, np.uint8)], "got 1 without contrast"),
        ([np.full(HW, (level, 255 - level, 7), np.uint8) for level in range(5)], "got 5 without contrast"),
        ([np.clip(128 + RNG.normal(0, 2, HW), 0, 255).astype(np.uint8) for _ in range(3)], "deviation of 2."),
        ([PICTURE] * 3, "got one image 3 times"),
    ],
    ids=["black", "one grey", "plain colours", "faint noise", "one image again and again"],
)
def test_contrast_refused(images, message, tmp_path, given):
    """Before anything is written, and in one line that names the folder."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    code, _, err = given("--report", tmp_path / "report", truth=False, images=folder, count=len(images))
    last = err.strip().splitlines()[-1]
    assert code == 3
    assert last.startswith(f"nanoseg: error: {folder}: wanted ")
    assert message in last
    assert not (tmp_path / "int8.onnx").exists()
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("images", "remark"),
    [
        ([PICTURE], ""),
        ([PICTURE, PICTURE[::-1]], ""),
        ([PICTURE, FLAT, FLAT, FLAT], "x: 3 of 4 images have no contrast"),
        ([PICTURE, PICTURE, PICTURE, PICTURE, PICTURE[::-1]], "x: 2 of 5 images differ"),
        ([np.where(np.arange(64)[None, :, None] < 2, 255, FLAT).astype(np.uint8), PICTURE], ""),
    ],
)
def test_contrast_accepted(images, remark):
    meter = ContrastMeter()
    for image in images:
        meter.add(image)
    assert meter.check("x") == remark


def test_contrast_of_no_image():
    with pytest.raises(SourceError, match="got 0 without contrast"):
        ContrastMeter().check("x")


@pytest.mark.parametrize("truth", [True, False])
def test_quantize_refuses_a_network_that_int8_spoils(truth, given, tmp_path):
    """The report is written and says so; --anyway writes the network."""
    code, _, err = given("--report", tmp_path / "report", truth=truth)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"nanoseg: error: {tmp_path / 'pictures'}: in INT8 ")
    assert last.endswith("give --max-drop, or --anyway")
    assert not (tmp_path / "int8.onnx").exists()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["refused"] in last
    assert report["out"] is None
    code, report, _ = given("--anyway", truth=truth)
    assert (code, report.refused) == (0, None)
    assert (tmp_path / "int8.onnx").exists()


def test_quantize_reports_agreement(given, tmp_path):
    code, report, err = given("--max-drop", 5)
    own, built_in = report.agreement
    assert (code, own.images, own.source, built_in.images, built_in.source) == (
        0, 2, str(tmp_path / "pictures"), 5, "built in",
    )  # fmt: skip
    assert own.score_difference < 0.05
    assert own.box_iou > 0.95
    assert "INT8 against float32 on 5 images, built in: " in err
