"""Networks that are worse as stored than as a CPU runs them, and those that see nothing: refused, or recorded."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nanoseg
from nanoseg.bundle import open_bundle
from nanoseg.errors import DependencyError
from nanoseg.onnx_graphs.deploy.check_images import built_in_images
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.pictures import dead_leaves
from nanoseg.sources.simulator import demo_lines
from tests.bundle.folders import make, siblings
from tests.data.fill_weights import image_u8
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import CLASSES, decoder, detector, encoder

Edit = Callable[[onnx.ModelProto], None]


def set_weight(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        weight = next(each for each in model.graph.initializer if each.name == name)
        array = numpy_helper.to_array(weight)
        new = np.asarray(change(array)).astype(array.dtype).reshape(array.shape)
        weight.CopyFrom(numpy_helper.from_array(new, name))

    return edit


def scores_in_steps_of(step: float) -> Edit:
    """Put a Q/DQ pair with this scale behind the scores, as where they share a scale with the boxes."""

    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for index, name in enumerate(node.output):
                if name == "scores":
                    node.output[index] = "exact"
            for index, name in enumerate(node.input):
                if name == "scores":
                    node.input[index] = "exact"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(step), "step"))
        model.graph.node.append(helper.make_node("QuantizeLinear", ["exact", "step", "zero"], ["whole"]))
        model.graph.node.append(helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["scores"]))

    return edit


def changed(path: Path, *edits: Edit) -> Path:
    model = onnx.load(path)
    for edit in edits:
        edit(model)
    onnx.save(model, path)
    return path


def rounded_input(path: Path, name: str, step: float) -> Path:
    """Put a Q/DQ pair with this scale behind an input."""
    model = onnx.load(path)
    for node in model.graph.node:
        for index, each in enumerate(node.input):
            if each == name:
                node.input[index] = "rounded"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(step), "step"))
    model.graph.initializer.append(numpy_helper.from_array(np.int8(0), "zero"))
    nodes = [
        helper.make_node("QuantizeLinear", [name, "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["rounded"]),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def half_with_tiny_weights(path: Path) -> Path:
    """A float16 encoder whose weights round to zero."""
    model = onnx.load(changed(encoder(path), set_weight("weight", lambda w: w * 1e-4)))
    half = to_fp16(model)
    for weight in half.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT16:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float16(0), weight.name))
    onnx.save(half, path)
    return path


BOXES = np.tile([[1, 2, 30, 40]], (20, 1))
BLIND = {
    "scores in steps of 5": ("detector", lambda p: changed(quantized_detector(p, 19), scores_in_steps_of(5.0))),
    "scores in steps of 2": ("detector", lambda p: changed(quantized_detector(p, 19), scores_in_steps_of(2.0))),
    "scores in steps of 0.9": ("detector", lambda p: changed(quantized_detector(p, 19), scores_in_steps_of(0.9))),
    "activations in steps of 40": (
        "detector", lambda p: changed(quantized_detector(p, 19), set_weight("mid_scale", lambda s: s * 2000)),
    ),
    "encoder in steps of 20": ("encoder", lambda p: rounded_input(encoder(p), "image", 20.0)),
    "decoder in steps of 99": ("decoder", lambda p: rounded_input(decoder(p), "image_embeddings", 99.0)),
}  # fmt: skip
DEAD = {
    "all scores 0": ("detector", lambda p: detector(p, BOXES, np.zeros((20, CLASSES))), "its scores are 0 for every"),
    "all scores equal": (
        "detector", lambda p: detector(p, BOXES, np.full((20, CLASSES), 0.5)), "its scores are the same for every",
    ),
    "scores that do not depend on the input": (
        "detector", lambda p: detector(p, BOXES, np.random.default_rng(1).random((20, CLASSES))), "its scores are the",
    ),
    "detector with weights of 0": (
        "detector",
        lambda p: changed(
            quantized_detector(p, 19), set_weight("w1", lambda w: w * 0), set_weight("w2", lambda w: w * 0)
        ),
        "its scores are the same for every image",
    ),
    "encoder with weights of 0": (
        "encoder", lambda p: changed(encoder(p), set_weight("weight", lambda w: w * 0)),
        "'image_embeddings' is 0 for every image: all its weights are 0",
    ),
    "float16 encoder with weights of 0": (
        "encoder", half_with_tiny_weights, "'image_embeddings' is 0 for every image: all its weights are 0",
    ),
    "decoder that sees no image": (
        "decoder", lambda p: changed(decoder(p), set_weight("to_pixels", lambda w: w * 0)), "'low_res_masks' is 0 for",
    ),
    "decoder that sees no prompt": (
        "decoder", lambda p: changed(decoder(p), set_weight("to_weights", lambda w: w * 0)), "'low_res_masks' is 0 for",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLIND)
def test_make_refuses_networks_that_rounding_spoils(
    name: str, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, write = BLIND[name]
    path = write(tmp_path / "given.onnx")
    assert make([*inputs, f"--{network}", str(path), "--out", str(tmp_path / "nuts")]) == 4
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"nanoseg: error: {path}: rounding spoils it: as stored, ")
    assert last.endswith("; --anyway makes the bundle all the same")
    assert "nuts" not in siblings(tmp_path)


@pytest.mark.parametrize("name", DEAD)
def test_make_refuses_networks_that_see_nothing(
    name: str, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, write, message = DEAD[name]
    path = write(tmp_path / "given.onnx")
    assert make([*inputs, f"--{network}", str(path), "--out", str(tmp_path / "nuts")]) == 4
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"nanoseg: error: {path}: ")
    assert message in last
    assert "nuts" not in siblings(tmp_path)


def test_make_anyway_is_recorded_and_told(
    inputs: list[str], tmp_path: Path, call, caplog: pytest.LogCaptureFixture
) -> None:
    path = changed(quantized_detector(tmp_path / "blind.onnx", 19), scores_in_steps_of(5.0))
    out = tmp_path / "nuts"
    assert make([*inputs, "--detector", str(path), "--out", str(out), "--anyway"]) == 0
    (warning,) = open_bundle(out).warnings
    assert warning.startswith("detector: rounding spoils it: as stored, the best score is 0.000, but ")
    code, text, _ = call("info", out)
    assert code == 0
    assert f"warning    {warning}" in " ".join(text.split(" ")) or warning in text
    assert json.loads(call("info", out, "--json")[1])["warnings"] == [warning]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "nanoseg"), nanoseg.load(out, "onnxruntime"):
        assert [record.getMessage() for record in caplog.records] == [f"nuts: {warning}"]
    assert make([*inputs, "--out", str(out)]) == 0
    assert "warnings" not in (out / "bundle.toml").read_text()
    assert open_bundle(out).warnings == ()


def test_make_good_int8_and_float16_are_measured(
    inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On images of the user's as well."""
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image_u8(number, 48, 80))
    half = to_fp16(onnx.load(encoder(tmp_path / "half.onnx")))
    onnx.save(half, tmp_path / "half.onnx")
    int8 = quantized_detector(tmp_path / "int8.onnx", 19)
    reduced = ["--detector", str(int8), "--encoder", str(tmp_path / "half.onnx")]
    given = [*inputs, *reduced, "--out", str(tmp_path / "nuts")]
    for more, origin in (([], "5 built-in images"), (["--images", str(tmp_path)], f"4 images of {tmp_path}")):
        assert make([*given, *more]) == 0
        text = capsys.readouterr().err.replace("\n", " ")
        assert f"trying the networks on {origin}" in text
        assert "int8.onnx: as stored, scores differ by 0." in text
        assert "half.onnx: as stored, 'image_embeddings' differs by 0.0%" in text


@pytest.mark.parametrize(
    ("images", "code", "message"),
    [
        ("nowhere", 3, "nowhere: no such folder"),
        ("few/*.png", 2, "--images: wanted 3 images or more, got 2 in few/*.png"),
    ],
)
def test_make_refuses_images(
    images: str, code: int, message: str, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("few").mkdir()
    for number in range(2):
        cv2.imwrite(f"few/{number}.png", image_u8(number, 48, 80))
    assert make([*inputs, "--out", "nuts", "--images", images]) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_make_tries_networks_without_opencv(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the built-in images that need none: nanoseg[cpu,bundle] is enough."""

    def missing() -> None:
        raise DependencyError('OpenCV is not installed: pip install "nanoseg[opencv]"')

    built_in_images.cache_clear()
    monkeypatch.setattr(demo_lines, "DemoLines", missing)
    try:
        assert make([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    finally:
        built_in_images.cache_clear()
    assert "trying the networks on 3 built-in images" in capsys.readouterr().err


def test_make_built_in_images_differ() -> None:
    images = built_in_images()
    assert len({image.tobytes() for image in images}) == len(images) == 5
    assert all(10 < image.std() < 90 for image in images)
    np.testing.assert_array_equal(dead_leaves(1), images[3])
