"""models/01: a detector whose INT8 scores all round to 0, while a CPU without Q/DQ finds objects."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundle.folders import make
from tests.helpers.tiny_networks import decoder, encoder


def test_blind_int8_detector(
    made_case: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_case("models/01-int8-joint-blind")
    flags = [
        *("--detector", folder / "d.onnx", "--detector-spec", folder / "form.toml", "--labels", "a,b,c"),
        *("--encoder", encoder(tmp_path / "e.onnx"), "--decoder", decoder(tmp_path / "m.onnx")),
        *("--out", tmp_path / "b"),
    ]
    assert make([str(flag) for flag in flags]) == 4
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "d.onnx: rounding spoils it: as stored, the best score is 0.000, but " in last
    assert not (tmp_path / "b").exists()
    assert make([*(str(flag) for flag in flags), "--anyway"]) == 0
