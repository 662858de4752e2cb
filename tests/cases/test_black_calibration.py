"""models/07: calibration on black images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.colour_detector import colour_detector
from tests.helpers.verbs import verb


def test_black_calibration(
    made_case: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = made_case("models/07-black-calibration")
    detector, out = colour_detector(tmp_path / "d.onnx"), tmp_path / "x.onnx"
    assert verb("quantize")([str(detector), "--images", str(images), "--out", str(out)]) == 3
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"nanoseg: error: {images}: wanted images to calibrate on, got 4 without contrast")
    assert not out.exists()
