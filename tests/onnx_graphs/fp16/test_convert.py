"""`nanoseg fp16` from its flags to its files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.fp16.compare import cosine_similarity
from nanoseg.onnx_graphs.fp16.inputs import grid_of_boxes
from nanoseg.onnx_graphs.model.contract import ENCODER, load_network
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import save
from tests.helpers.verbs import verb

fp16 = verb("fp16")

PARTS = "parts://"


def test_convert_encoder_reports_masks_and_miou(networks: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    out, report = tmp_path / "new" / "half.onnx", tmp_path / "report"
    flags = ["--out", out, "--images", folder / "pictures", "--annotations", folder / "coco.json", "--count", 2]
    more = ["--decoder", networks / "decoder.onnx", "--report", report, "--json"]
    assert fp16([str(flag) for flag in [networks / "encoder.onnx", *flags, *more]]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((report / "report.json").read_text())
    assert (printed["kind"], printed["out"], printed["too_large"], printed["float32"]) == ("encoder", str(out), [], {})
    # Of three pictures two are measured on; too few are left to compare on others.
    assert printed["pictures"] == {
        "source": str(folder / "pictures"), "annotations": str(folder / "coco.json"), "measured_on": 2,
        "compared_on": 2,
    }  # fmt: skip
    assert [each["layer"] for each in printed["layers"]] == ["image_embeddings"]
    assert printed["bytes"] == out.stat().st_size < 0.6 * printed["bytes_before"]
    (output,) = printed["outputs"]
    assert 0.99999 < output["cosine_least"] <= output["cosine"] < 1
    assert 0 < output["largest_difference"] < 0.1
    masks = printed["masks"]
    assert (masks["prompts"], masks["of_true_boxes"]) == (4, True)
    assert 0.95 < masks["alike"] <= 1
    assert 0 < masks["miou_float32"] < 1
    assert abs(masks["miou_float32"] - masks["miou_float16"]) < 0.02
    page = (report / "report.md").read_text()
    assert "encoder.onnx in float16" in page
    assert "| image_embeddings | Conv |" in page
    half = load_network(out, ENCODER)  # as a bundle is made of it
    assert precision_of(half.model) == "fp16"
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    want = run(onnx.load(networks / "encoder.onnx"), image=image)["image_embeddings"]
    np.testing.assert_allclose(run(half.model, image=image)["image_embeddings"], want, atol=0.02)


def test_convert_detector_without_annotations(networks: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "half.onnx"
    flags = [networks / "detector.onnx", "--out", out, "--images", folder / "pictures", "--report", tmp_path]
    assert fp16([str(flag) for flag in flags]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for part in ("the box decode (5 nodes)", "boxes", "scores", "cosine", "least headroom", "report.md", "c1"):
        assert part in printed.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["kind"], report["masks"], report["pictures"]["compared_on"]) == ("detector", None, 3)
    assert {each["name"] for each in report["outputs"]} == {"boxes", "scores"}
    assert precision_of(onnx.load(out)) == "int8"


def test_convert_keeps_and_reports_large_layers(networks: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "half.onnx"
    assert fp16([str(networks / "swollen.onnx"), "--out", str(out), "--images", PARTS, "--count", "2", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "nanoseg: 2 layers near the largest number of float16: kept in float32\n"
    report = json.loads(printed.out)
    assert report["too_large"] == ["huge", "small"]
    layers = {each["layer"]: each for each in report["layers"]}
    assert next(iter(layers)) == "huge"
    assert layers["huge"]["headroom"] < 1
    assert {name: each["float16"] for name, each in layers.items()} == {
        "huge": False, "patches": True, "small": False, "image_embeddings": True,
    }  # fmt: skip
    assert report["outputs"][0]["cosine_least"] > 0.99999


def test_convert_refuses_overflow_on_other_images(
    networks: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nanoseg.onnx_graphs.fp16.convert.overflow_nodes", lambda *_: set()
    )  # as if those measured were all dark
    flags = [str(networks / "swollen.onnx"), "--images", PARTS, "--count", "1", "--out", str(tmp_path / "half.onnx")]
    assert fp16(flags) == 4
    printed = capsys.readouterr().err
    assert printed.startswith(
        "nanoseg: error: swollen.onnx: 'image_embeddings' is not finite in float16; measure on more images"
    )
    assert list(tmp_path.iterdir()) == []


def test_convert_prompts_by_a_grid_of_boxes(networks: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    """And the truth of boxes alone, which prompts but judges nothing."""
    boxes = ((["--annotations", folder / name], 6, True) for name in ("boxes.json", "outlines.json"))
    for more, prompts, truth in (([], 27, False), *boxes):
        flags = [networks / "encoder.onnx", "--out", tmp_path / "half.onnx", "--images", folder / "pictures", *more]
        assert fp16([str(flag) for flag in [*flags, "--decoder", networks / "sam.onnx", "--json"]]) == 0
        masks = json.loads(capsys.readouterr().out)["masks"]
        assert (masks["prompts"], masks["of_true_boxes"], masks["miou_float32"]) == (prompts, truth, None)


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        ([1, 2], [2, 4], 1),
        ([1, 0], [0, 3], 0),
        ([1, 1], [-2, -2], -1),
        ([3, 4], [4, 3], 0.96),
        ([0], [0], 1),
        ([0], [1], 0),
    ],
)
def test_compare_cosine_similarity(one: list[float], other: list[float], want: float) -> None:
    assert cosine_similarity(np.array(one, np.float64), np.array(other, np.float64)) == pytest.approx(want)


def test_compare_grid_of_boxes_tiles_the_image() -> None:
    seen = np.zeros((60, 90), int)
    for left, top, right, bottom in grid_of_boxes(60, 90).astype(int):
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


FAILURES = {
    "no pictures": (["encoder.onnx", "--images", "{empty}"], 3, "no pictures"),
    "no such folder": (["encoder.onnx", "--images", "nowhere"], 3, "nowhere: no such folder"),
    "no such network": (["nothing.onnx", "--images", PARTS], 4, "no such file"),
    "text": (["text.onnx", "--images", PARTS], 4, "wanted an ONNX model"),
    "weights beside it, gone": (["apart.onnx", "--images", PARTS], 4, "apart.onnx: wanted an ONNX model"),
    "a mask decoder alone": (["decoder.onnx", "--images", PARTS], 2, "--encoder: wanted with "),
    "encoder of an encoder": (
        ["wider.onnx", "--images", PARTS, "--encoder", "{encoder}"],
        2,
        "--encoder: wanted with a mask decoder, got ",
    ),
    "encoder of another size": (
        ["decoder.onnx", "--images", PARTS, "--encoder", "{wider}"],
        4,
        "export both for one image size",
    ),
    "decoder as its own encoder": (["decoder.onnx", "--images", PARTS, "--encoder", "{decoder}"], 4, "decoder.onnx: "),
    "decoder of three points": (
        ["three.onnx", "--images", PARTS, "--encoder", "{encoder}"],
        4,
        "'point_coords' wants any number of points, or 2",
    ),
    "decoder of a decoder": (
        ["decoder.onnx", "--images", PARTS, "--encoder", "{encoder}", "--decoder", "{decoder}"],
        2,
        "--decoder: wanted with an image encoder, got ",
    ),
    "size of a decoder": (
        ["decoder.onnx", "--images", PARTS, "--encoder", "{encoder}", "--size", "64"],
        2,
        "--size: wanted with a detector",
    ),
    "decoder of a detector": (["detector.onnx", "--images", PARTS, "--decoder", "{decoder}"], 2, "--decoder: wanted"),
    "decoder of another size": (["wider.onnx", "--images", PARTS, "--decoder", "{decoder}"], 4, "export both for one"),
    "nothing to convert": (["table.onnx", "--images", PARTS], 4, "table.onnx: wanted operators in float32"),
    "no count": (["encoder.onnx", "--images", PARTS, "--count", "0"], 2, "--count: wanted 1 or more, got 0"),
    "onto the decoder": (
        ["encoder.onnx", "--images", PARTS, "--decoder", "{decoder}", "--out", "{decoder}"],
        2,
        "decoder.onnx is a file to read",
    ),
    "size of an encoder": (["encoder.onnx", "--images", PARTS, "--size", "64"], 2, "--size: wanted with a detector"),
    "rescaled beyond": (["detector.onnx", "--images", PARTS, "--rescale", "99"], 2, "--rescale: wanted 1 to 64"),
    "another size": (["detector.onnx", "--images", PARTS, "--size", "32"], 4, "wanted an input of 32 px"),
    "no spec": (["detector.onnx", "--images", PARTS, "--detector-spec", "nothing"], 2, "nothing: cannot be read"),
    "onto itself": (["encoder.onnx", "--images", PARTS, "--out", "{encoder}"], 2, "is the network itself"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_convert_failures_leave_nothing(case: str, networks: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    (network, *flags), code, printed = FAILURES[case]
    places = {name: networks / f"{name}.onnx" for name in ("decoder", "encoder", "wider")} | {"empty": folder / "empty"}
    before = (networks / "encoder.onnx").read_bytes()
    flags = ["--out", str(tmp_path / "half.onnx"), *(flag.format(**places) for flag in flags)]
    assert fp16([str(networks / network), *flags]) == code
    got = capsys.readouterr()
    assert (got.out, got.err.count("\n")) == ("", 1)
    assert got.err.startswith("nanoseg: ")
    assert printed in got.err
    assert list(tmp_path.iterdir()) == []
    assert (networks / "encoder.onnx").read_bytes() == before


def test_convert_refuses_float16_networks(networks: Path, tmp_path: Path, capsys: Any) -> None:
    first, again = tmp_path / "half.onnx", tmp_path / "again.onnx"
    flags = ["--images", PARTS, "--count", "1", "--out"]
    assert fp16([str(networks / "encoder.onnx"), *flags, str(first)]) == 0
    capsys.readouterr()
    assert fp16([str(first), *flags, str(again)]) == 4
    assert "half.onnx: wanted a float32 network, got one with float16 tensors" in capsys.readouterr().err
    assert not again.exists()


def test_convert_takes_a_detector_spec(networks: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    """The spec is given once, and the file that is written needs none."""
    net = np.random.default_rng(4).normal(0, 0.1, (256, 3, 16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["cells"], strides=[16, 16]),
        helper.make_node("Reshape", ["cells", "rows"], ["out"]),
    ]
    path = save(tmp_path / "joint.onnx", {"x": (1, 3, "h", "w")}, {"out": (1, 256, 16)}, nodes,
                {"weight": net, "rows": np.array([1, 256, 16])})  # fmt: skip
    spec = tmp_path / "spec.toml"
    spec.write_text('[outputs]\njoint = "out"\nbox_form = "cxcywh"\nactivation = "sigmoid"\n')
    out = tmp_path / "half.onnx"
    flags = ["--out", out, "--images", folder / "pictures", "--count", 1, "--detector-spec", spec]
    assert fp16([str(flag) for flag in [path, *flags, "--size", 64, "--rescale", 50]]) == 0
    capsys.readouterr()
    loaded = load_detector(out)
    assert (loaded.dims["S"], loaded.dims["A"], loaded.dims["C"]) == (64, 256, 12)
    assert loaded.metadata["rescale_px"] == "50"


def test_convert_interrupted_at_the_report_leaves_nothing(
    networks: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nanoseg.commands.fp16.report.page", stop)
    flags = ["--images", PARTS, "--count", "1", "--out", str(tmp_path / "half.onnx"), "--report", str(tmp_path)]
    assert fp16([str(networks / "encoder.onnx"), *flags]) == 130
    assert capsys.readouterr().err == "nanoseg: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_convert_interrupted_leaves_nothing(
    networks: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nanoseg.onnx_graphs.fp16.convert.measure_peaks", stop)
    assert fp16([str(networks / "encoder.onnx"), "--images", PARTS, "--out", str(tmp_path / "half.onnx")]) == 130
    assert capsys.readouterr().err == "nanoseg: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []
