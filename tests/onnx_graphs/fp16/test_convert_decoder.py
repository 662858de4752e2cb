"""`nanoseg fp16` of mask decoders, from its flags to its files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.model.shapes import random_feeds
from tests.helpers.onnx_run import run
from tests.helpers.verbs import verb

fp16 = verb("fp16")

PARTS = "parts://"


def test_convert_decoder_reports_masks_and_miou(networks: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "half.onnx"
    flags = ["--out", out, "--images", folder / "pictures", "--annotations", folder / "coco.json"]
    more = ["--encoder", networks / "encoder.onnx", "--report", tmp_path]
    assert fp16([str(flag) for flag in [networks / "tokens.onnx", *flags, *more]]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["kind"], report["too_large"], report["decode"]) == ("decoder", [], 0)
    assert report["float32"] == {"ReduceSum": 1, "ReduceMean": 1, "LayerNormalization": 1}
    assert {each["name"] for each in report["outputs"]} == {"low_res_masks", "iou_predictions"}
    assert all(each["largest_difference"] > 0 for each in report["outputs"])
    masks = report["masks"]
    assert (masks["prompts"], masks["of_true_boxes"]) == (6, True)
    assert 0.9 < masks["worst"] < masks["alike"] < 1
    assert 0 < masks["miou_float32"] < 1
    assert abs(masks["miou_float32"] - masks["miou_float16"]) < 0.02
    assert f"worst {masks['worst']:.4f}, 6 boxes of the annotations" in printed
    half = load_decoder(out)
    assert precision_of(half.model) == "fp16"
    assert "N" not in half.dims


@pytest.mark.parametrize(("name", "prompts"), [("masks", 4), ("sam", 1)])
def test_convert_decoder_keeps_mask_prompts(name: str, prompts: int, networks: Path, tmp_path: Path) -> None:
    """It is measured with masks as well, and one prompt a call where the decoder takes one."""
    path, out = networks / f"{name}.onnx", tmp_path / "half.onnx"
    flags = ["--out", out, "--images", PARTS, "--count", 2, "--encoder", networks / "encoder.onnx"]
    assert fp16([str(flag) for flag in [path, *flags]]) == 0
    single, half = (load_decoder(each, mask_prompts=True) for each in (path, out))
    feeds = random_feeds(single.model, prompts)
    wanted, got = run(single.model, **feeds), run(half.model, **feeds)
    for output, value in wanted.items():
        np.testing.assert_allclose(got[output], value, rtol=0, atol=5e-2 * np.abs(value).max())


def test_convert_decoder_keeps_and_reports_large_layers(networks: Path, tmp_path: Path, capsys: Any) -> None:
    """Points of hundreds of pixels whose products no float16 holds."""
    flags = ["--out", tmp_path / "half.onnx", "--images", PARTS, "--count", 2, "--encoder", networks / "encoder.onnx"]
    assert fp16([str(flag) for flag in [networks / "huge.onnx", *flags, "--json"]]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"given", "images"} <= set(report["too_large"])
    assert next(each for each in report["layers"] if each["layer"] == "given")["headroom"] < 1
    assert report["masks"]["alike"] > 0.98
