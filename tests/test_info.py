"""`nanoseg info`: what a bundle holds, for machines and for people."""

import json

import pytest

from nanoseg.bundle import GRAPHS, sha256_of


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "nuts"
    folder.mkdir()
    text = 'format = 1\nname = "nuts"\nversion = "3"\ndescription = "A test."\nlicence = "Apache-2.0"\n'
    text += 'labels = ["nut", "bolt"]\n[thresholds]\nconfidence = 0.25\niou = 0.7\nmax_detections = 300\n'
    text += "[input]\ndetector_px = 320\nrescale_px = 320\nencoder_px = 512\n"
    for name, precision in zip(GRAPHS, ("fp32", "int8", "fp16", "fp32"), strict=True):
        path = folder / f"{name}.onnx"
        path.write_text(name)
        text += f'[graphs.{name}]\nfile = "{path.name}"\nsha256 = "{sha256_of(path)}"\n'
        text += f'bytes = {len(name)}\nprecision = "{precision}"\n'
    for name in ("detector", "encoder", "decoder"):
        text += f'[networks.{name}]\narchitecture = "tiny"\nsha256 = "{"0" * 64}"\nweights = "made up"\n'
    text += "[accuracy.float32]\nmap50_95 = 0.5\nmap50 = 0.75\nmiou = 0.875\n"
    (folder / "bundle.toml").write_text(text)
    return folder


def test_info_for_machines(call, bundle):
    code, out, err = call("info", bundle, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert {name: graph["precision"] for name, graph in told["graphs"].items()} == {
        "prepare": "fp32",
        "detect": "int8",
        "embed": "fp16",
        "segment": "fp32",
    }
    assert told["graphs"]["embed"]["sha256"] == sha256_of(bundle / "embed.onnx")
    assert (told["graphs"]["embed"]["bytes"], told["graphs"]["embed"]["file"]) == (5, "embed.onnx")
    figures = {name: told["accuracy"]["float32"][name] for name in ("map50_95", "map50", "miou")}
    assert figures == {"map50_95": 0.5, "map50": 0.75, "miou": 0.875}
    assert told["accuracy"]["deployed"] == {"map50_95": None, "map50": None, "miou": None}
    assert told["thresholds"] == {"confidence": 0.25, "iou": 0.7, "max_detections": 300}
    assert (told["labels"], told["licence"], told["engines"]) == (["nut", "bolt"], "Apache-2.0", [])
    assert told["networks"]["decoder"]["weights"] == "made up"


def test_info_for_people(call, bundle):
    code, out, _ = call("info", bundle)
    assert code == 0
    for line in ("nuts 3", "2: nut, bolt", "int8", "map50_95 0.500", "not measured", "Apache-2.0"):
        assert line in out
    (bundle / "embed.onnx").write_text("other")
    code, _, err = call("info", bundle)
    assert code == 4
    assert "embed.onnx: wanted sha256" in err


def test_info_of_a_bundle_that_takes_masks(call, bundle):
    assert "segment_mask" not in json.loads(call("info", bundle, "--json")[1])["graphs"]
    assert "segment_mask" not in call("info", bundle)[1]
    (bundle / "segment_mask.onnx").write_text("masks")
    digest = sha256_of(bundle / "segment_mask.onnx")
    text = (bundle / "bundle.toml").read_text()
    text += '[graphs.segment_mask]\nfile = "segment_mask.onnx"\nbytes = 5\nprecision = "fp16"\n'
    text += f'sha256 = "{digest}"\n[networks.mask_decoder]\narchitecture = "sam"\nweights = ""\n'
    (bundle / "bundle.toml").write_text(text + f'sha256 = "{"0" * 64}"\n')
    told = json.loads(call("info", bundle, "--json")[1])
    entry = {"precision": "fp16", "sha256": digest, "bytes": 5, "file": "segment_mask.onnx"}
    assert told["graphs"]["segment_mask"] == entry
    assert told["networks"]["mask_decoder"] == {"architecture": "sam", "sha256": "0" * 64, "weights": ""}
    code, out, _ = call("info", bundle)
    assert code == 0
    for line in (f"fp16  0.00 MB  sha256 {digest[:12]}", "segment_mask", "mask_decoder", "sam; weights: not told"):
        assert line in out
