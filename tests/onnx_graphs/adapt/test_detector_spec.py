"""Detector specs in TOML; errors name the key."""

from pathlib import Path

import pytest

from nanoseg.errors import UsageError
from nanoseg.onnx_graphs.adapt import detector_spec
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec

PAIR = '[outputs]\nboxes = "a"\nscores = "b"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("[input", "not TOML"),
        ('[input]\nlayout = "chw"', "input.layout: Invalid enum value 'chw'"),
        ('[input]\nsize_px = "640"', "input.size_px: Expected `int | null`, got `str`"),
        ("[input]\nmean = [0.5, 0.5]", "input.mean: Expected `array` of length 3, got 2"),
        ("[input]\nstd = [1, 0, 1]", "input.std[1]: Expected `float` > 0.0"),
        ("[input]\nscale = 0", "input.scale: Expected `float` > 0.0"),
        ("[output]\n", "Object contains unknown field `output`"),
        ('[outputs]\nform = "xyxy"', "outputs.form: Invalid enum value 'xyxy'"),
        ('[outputs]\nboxes = "a"', "outputs: wanted joint, or boxes and scores, got a"),
        (
            '[outputs]\njoint = "a"\nboxes = "b"\nscores = "c"',
            "outputs: wanted joint, or boxes and scores, got a, b, c",
        ),
        ('[outputs]\nboxes = "b"\nscores = "b"', "outputs: wanted boxes and scores apart, got b for both"),
        ("[input]\nrescale_px = 0", "input.rescale_px: Expected `int` >= 1"),
        (PAIR + "objectness = true", "outputs.objectness: wanted with joint"),
    ],
)
def test_detector_spec_refuses(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_detector_spec(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_detector_spec_example_is_valid(tmp_path: Path) -> None:
    text = "\n".join(line for line in str(detector_spec.__doc__).splitlines() if line.startswith("    "))
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("boxes", "scores")))
    path = tmp_path / "spec.toml"
    path.write_text(text)
    read = read_detector_spec(path)
    assert (read.input.size_px, read.outputs.joint, read.outputs.activation) == (640, "output0", "sigmoid")
    assert read.input.rescale_px == 640
    assert read.input.scale == pytest.approx(1 / 255)
