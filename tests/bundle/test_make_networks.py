"""Labels and sizes that a bundle takes from its networks, and decoders of other exporters."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.bundle import open_bundle
from nanoseg.utils.hashing import sha256_of_file
from tests.bundle.folders import content, make
from tests.helpers.tiny_detectors import Table
from tests.helpers.tiny_networks import decoder, sam_decoder, save


def test_make_labels_from_the_detectors_metadata(inputs: list[str], tmp_path: Path) -> None:
    without = [*inputs[:6], "--out", str(tmp_path / "nuts")]
    assert make(without) == 4
    model = onnx.load(tmp_path / "detector.onnx")
    onnx.helper.set_model_props(model, {"labels": '["a", "b", "c"]', "architecture": "tiny"})
    onnx.save(model, tmp_path / "detector.onnx")
    assert make(without) == 0
    made = open_bundle(tmp_path / "nuts")
    assert (made.labels, made.networks["detector"].architecture) == (("a", "b", "c"), "tiny")


def test_make_all_masks_and_a_decoder_of_one_prompt(inputs: list[str], tmp_path: Path) -> None:
    decoder(tmp_path / "decoder.onnx", prompts=1, mask_input=True, opset=16)
    assert make([*inputs, "--out", str(tmp_path / "nuts"), "--masks", "all"]) == 0
    output = onnx.load(tmp_path / "nuts" / "segment.onnx").graph.output[0]
    assert [side.dim_value for side in output.type.tensor_type.shape.dim] == [1, 4, 16, 16]


def test_make_decoder_of_other_software(inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """segment_mask of the same file, in the folder, in bundle.toml and in its words."""
    path, single = sam_decoder(tmp_path / "sam.onnx"), sam_decoder(tmp_path / "single.onnx", single=True)
    out = tmp_path / "nuts"
    assert make([*inputs, "--out", str(out), "--decoder", str(path), "--mask-prompts"]) == 0
    assert capsys.readouterr().err.count("sam.onnx: takes one prompt a call") == 1
    made = open_bundle(out)
    assert list(made.graphs) == ["prepare", "detect", "embed", "segment", "segment_mask"]
    assert sorted(content(out)) == sorted(["bundle.toml", "reference.json", *(f"{name}.onnx" for name in made.graphs)])
    assert made.networks["mask_decoder"].sha256 == made.networks["decoder"].sha256 == sha256_of_file(path)
    names = {value.name for value in onnx.load(out / "segment_mask.onnx").graph.input}
    assert names - {value.name for value in onnx.load(out / "segment.onnx").graph.input} == {
        "mask_input", "has_mask_input",
    }  # fmt: skip
    assert make([*inputs, "--out", str(out), "--mask-decoder", str(single)]) == 0
    assert "single.onnx: returns one mask, which it chooses of four itself" in capsys.readouterr().err
    made = open_bundle(out)
    assert made.networks["mask_decoder"].architecture == "single"
    assert made.networks["decoder"].architecture == "decoder"
    assert make([*inputs, "--out", str(out)]) == 0
    assert "segment_mask.onnx" not in content(out)
    assert "segment_mask" not in (out / "bundle.toml").read_text()


def test_make_labels_of_ultralytics(inputs: list[str], tmp_path: Path) -> None:
    model = onnx.load(tmp_path / "detector.onnx")
    for names, wanted in (
        ("{1: 'bolt', 0: 'nut', 2: 'it''s'}", 0), ("{0: 'nut'", 4), ("__import__('os')", 4), ("{[]: 1}", 4),
        ("{0: 'a', 'one': 'b', 2: 'c'}", 4), ("{1: 'a', 2: 'b', 3: 'c'}", 4), ("[" * 9999, 4),
    ):  # fmt: skip
        onnx.helper.set_model_props(model, {"names": names})
        onnx.save(model, tmp_path / "detector.onnx")
        assert make([*inputs[:6], "--out", str(tmp_path / "nuts")]) == wanted
        assert open_bundle(tmp_path / "nuts").labels == ("nut", "bolt", "its")


def test_make_detector_spec_rescales_to_the_whole_side(inputs: list[str], tmp_path: Path) -> None:
    """YOLO-NAS leaves a rim of two pixels at 640, others do not."""
    bias = np.concatenate([np.tile([320, 320, 50, 60], (16, 1)), np.full((16, 3), 0.5)], 1)
    pool = Table(np.full((3, 7), 0.01), bias).save(tmp_path / "v8.onnx", {"o": (0, 7)}, transposed=True, side=640)
    model = onnx.load(pool)
    for attribute in next(node for node in model.graph.node if node.op_type == "AveragePool").attribute:
        attribute.ints[:] = [160, 160]
    onnx.save(model, pool)
    (tmp_path / "f.toml").write_text('[outputs]\ntransposed = true\nbox_form = "cxcywh"\n')
    flags = ["--detector", str(pool), "--detector-spec", str(tmp_path / "f.toml"), "--out", str(tmp_path / "nuts")]
    assert make([*inputs, *flags]) == 0
    assert open_bundle(tmp_path / "nuts").rescale_px == 640
    assert make([*inputs, *flags, "--rescale", "600"]) == 0
    assert open_bundle(tmp_path / "nuts").rescale_px == 600


@pytest.mark.parametrize(("side", "rescale"), [(640, 636), (320, 320)])
def test_make_default_rescale(side: int, rescale: int, inputs: list[str], tmp_path: Path) -> None:
    model = onnx.load(tmp_path / "detector.onnx")
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = side
    onnx.save(model, tmp_path / "detector.onnx")
    assert make([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    assert open_bundle(tmp_path / "nuts").rescale_px == rescale


def test_make_reports_what_tensorrt_cannot_build(
    inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["image", "weight"], ["map"], strides=[16, 16]),
        onnx.helper.make_node("ReduceMin", ["image", "no_axes"], ["darkest"], keepdims=0),
        onnx.helper.make_node("Mul", ["darkest", "nothing"], ["none"]),
        onnx.helper.make_node("Cast", ["none"], ["zero_scalar"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Unsqueeze", ["zero_scalar", "first"], ["zero"]),
        onnx.helper.make_node("OneHot", ["zero", "depth", "off_on"], ["one"]),
        onnx.helper.make_node("Mul", ["map", "one"], ["image_embeddings"]),
    ]
    constants = {
        "weight": np.ones((256, 3, 16, 16), np.float32), "depth": np.array([1]), "off_on": np.float32([0, 1]),
        "no_axes": np.zeros(0, np.int64), "nothing": np.float32(0), "first": np.array([0]),
    }  # fmt: skip
    shapes = {"image": (1, 3, 64, 64)}, {"image_embeddings": (1, 256, 4, 4)}
    save(tmp_path / "encoder.onnx", *shapes, nodes, constants)
    assert make([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    assert "embed.onnx: TensorRT cannot build OneHot" in capsys.readouterr().err
