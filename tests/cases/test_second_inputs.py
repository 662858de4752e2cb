"""Detectors with inputs beside the image: each gets a constant by a line of TOML."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import some_detector

X = onnx.TensorProto


def with_input(path: Path, name: str, dtype: int, shape: tuple[int | str, ...], target: str = "boxes") -> Path:
    """The detector, its boxes times the mean of a further input."""
    model = onnx.load(some_detector(path))
    maker = next(node for node in model.graph.node if target in node.output)
    maker.output[0] = "before"
    model.graph.input.append(helper.make_tensor_value_info(name, dtype, shape))
    model.graph.node.extend([
        helper.make_node("Cast", [name], ["further"], to=X.FLOAT),
        helper.make_node("ReduceMean", ["further"], ["factor"], keepdims=0),
        helper.make_node("Mul", ["before", "factor"], [target]),
    ])  # fmt: skip
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "text", "factor"),
    [
        ("pixel_mask", X.INT64, (1, 64, 64), "1", 1),  # transformers' DETR
        ("pixel_mask", X.INT64, ("batch", "height", "width"), "1", 1),
        ("mask", X.BOOL, (1, 64, 64), "1", 1),
        ("orig_target_sizes", X.INT64, ("N", 2), "[64, 32]", 48),  # RT-DETR
        ("im_shape", X.FLOAT, (1, 2), "[64, 64]", 64),  # PaddleDetection
        ("scale_factor", X.FLOAT16, ("?", 2), "0.5", 0.5),
    ],
)
def test_second_input_is_constant(
    name: str, dtype: int, shape: tuple, text: str, factor: float, tmp_path: Path
) -> None:
    want = run(some_detector(tmp_path / "own.onnx"), images=np.zeros((1, 3, 64, 64), np.float32))["boxes"]
    path, spec = with_input(tmp_path / "d.onnx", name, dtype, shape), tmp_path / "spec.toml"
    with pytest.raises(BundleError, match=rf"got images, {name}; give a constant .* \[constants\] .* {name} = 1"):
        load_detector(path)
    spec.write_text(f"[constants]\n{name} = {text}\n")
    detector = load_detector(path, read_detector_spec(spec))
    assert [value.name for value in detector.model.graph.input] == ["images"]
    got = run(detector.model, images=np.zeros((1, 3, 64, 64), np.float32))["boxes"]
    np.testing.assert_allclose(got, want * factor, rtol=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sizes = 1", r"\[constants\] of the detector spec wants the input sizes, got images, orig_sizes"),
        ("orig_sizes = 0.5", "'orig_sizes' wants whole numbers, got 0.5"),
        ("orig_sizes = 1e19", r"'orig_sizes' wants int64, got 1e\+19 in \[constants\], which does not fit"),
        ("orig_sizes = [1, 2, 3]", r"'orig_sizes' wants \(1, 2\), got 3 numbers"),
    ],
)
def test_second_input_refused(text: str, message: str, tmp_path: Path) -> None:
    path, spec = with_input(tmp_path / "d.onnx", "orig_sizes", X.INT64, (1, 2)), tmp_path / "spec.toml"
    spec.write_text(f"[constants]\n{text}\n")
    with pytest.raises(BundleError, match=message) as error:
        load_detector(path, read_detector_spec(spec))
    assert str(error.value).startswith(f"{path}: ")


def test_second_input_of_the_known_case(made_case: Callable[[str], Path]) -> None:
    folder = made_case("models/20-second-input")
    spec = folder / "with.toml"
    spec.write_text((folder / "form.toml").read_text() + "[constants]\npixel_mask = 1\n")
    assert load_detector(folder / "d.onnx", read_detector_spec(spec)).dims["C"] == 3
