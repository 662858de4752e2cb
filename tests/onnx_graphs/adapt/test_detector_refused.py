"""Detectors that cannot be adapted, and the messages about them."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.validate import validate_detector
from tests.helpers.adapted_detectors import BAD, THREE, TWO, write_spec
from tests.helpers.tiny_detectors import Table, table
from tests.helpers.tiny_networks import BYTE


@pytest.mark.parametrize(
    ("columns", "outputs", "options", "size_px", "message"),
    [
        (7, THREE, {}, None, "wanted boxes (1, A, 4) and scores (1, A, C), got several: a (1, 16, 4), b (1, 16, 3), c"),
        (8, {"a": (0, 4), "b": (4, 8)}, {}, None, "got several: a (1, 16, 4), b (1, 16, 4); name them in"),
        (7, {"output0": (0, 7)}, {}, None, "and scores (1, A, C), got output0 (1, 16, 7); if they are in there"),
        (7, TWO, {"dtype": BYTE}, None, "wants float32 in 0 to 1, got uint8: its preprocessing is inside"),
        (7, TWO, {"nhwc": True}, None, "'images' wants (1, 3, S, S), got (1, 64, 64, 3)"),
        (7, TWO, {"side": "s"}, None, "'images' wants (1, 3, S, S), got (1, 3, any, any); give its side: --size"),
        (
            7,
            {"boxes": (0, 4), "scores": (4, 7)},
            {"side": "s"},
            None,
            "'images' wants (1, 3, S, S), got (1, 3, any, any); give its side: --size",
        ),
        (7, TWO, {}, 32, "wanted an input of 32 px, got one fixed at 64"),
        (7, {"boxes": (0, 4), "scores": (4, 7)}, {}, 32, "wanted an input of 32 px, got one fixed at 64"),
        (7, TWO, {"batch": 2}, None, "'images' wants (1, 3, S, S), got (2, 3, 64, 64)"),
    ],
)
def test_detector_refuses_ambiguous_shapes(
    columns: int, outputs: dict, options: dict, size_px: int | None, message: str, tmp_path: Path
) -> None:
    path = table(columns, corners=True).save(tmp_path / "net.onnx", outputs, **options)
    with pytest.raises(BundleError) as error:
        load_detector(path, None, size_px)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_detector_refuses_two_inputs(tmp_path: Path) -> None:
    path = table(7).save(tmp_path / "net.onnx", TWO)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("orig_target_sizes", 1, (16, 4)))
    model.graph.node.append(helper.make_node("Add", ["a", "orig_target_sizes"], ["c"]))
    model.graph.output[0].name = "c"
    onnx.save(model, path)
    with pytest.raises(BundleError, match="wanted one input, an image, got images, orig_target_sizes"):
        load_detector(path)


PAIR = '[outputs]\nboxes = "a"\nscores = "b"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[outputs]\njoint = "c"', "the detector spec wants 'c', got a network with a, b"),
        ('[input]\nname = "x"\n' + PAIR, "wanted the input x, an image, got images"),
        ('[outputs]\nboxes = "b"\nscores = "a"', "'b' wants (1, A, 4), got (1, 16, 3)"),
        (PAIR + "transposed = true", "'a' wants (1, 4, A), got (1, 16, 4)"),
        ('[outputs]\njoint = "a"', "wanted the scores of one class or more, got no column for them"),
        ('[input]\nlayout = "nhwc"\n' + PAIR, "'images' wants (1, S, S, 3), got (1, 3, 64, 64)"),
        ("[input]\nscale = 1.0", "net.onnx: wanted scores from 0 to 1, got"),
        (PAIR + "normalised = true", "wanted boxes in pixels of an input of 64, got some that reach"),
    ],
)
def test_detector_refuses_a_spec_that_does_not_fit(text: str, message: str, tmp_path: Path) -> None:
    path = table(7, corners=True).save(tmp_path / "net.onnx", TWO)
    spec = read_detector_spec(write_spec(tmp_path / BAD, text))
    with pytest.raises(BundleError) as error:
        validate_detector(load_detector(path, spec))
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (table(7), {}, "wanted boxes as left, top, right, bottom, but"),
        (table(7, corners=True, logits=True), {}, "wanted scores from 0 to 1, got"),
        (table(7, corners=True, size=1 / 64), {}, "that reach 1.0"),
    ],
)
def test_detector_validation_asks_for_a_spec(net: Table, options: dict, message: str, tmp_path: Path) -> None:
    path = net.save(tmp_path / "net.onnx", {"boxes": (0, 4), "scores": (4, 7)}, **options)
    with pytest.raises(BundleError) as error:
        validate_detector(load_detector(path))
    assert message in str(error.value)
    assert "--detector-spec" in str(error.value)
