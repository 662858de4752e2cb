"""models/09: two detectors that differ in their external weights alone."""

from collections.abc import Callable
from pathlib import Path

from nanoseg.bundle import open_bundle
from tests.bundle.folders import make
from tests.helpers.tiny_networks import decoder, encoder


def test_external_weights_are_told_apart(made_case: Callable[[str], Path], tmp_path: Path) -> None:
    folder = made_case("models/09-external-sha")
    networks = ["--encoder", str(encoder(tmp_path / "e.onnx")), "--decoder", str(decoder(tmp_path / "m.onnx"))]
    entries = []
    for number in "01":
        spec = ["--detector", str(folder / number / "d.onnx"), "--detector-spec", str(folder / "form.toml")]
        assert make([*networks, *spec, "--labels", "a,b,c", "--out", str(tmp_path / number)]) == 0
        entries.append(open_bundle(tmp_path / number).networks["detector"])
    assert entries[0].sha256 == entries[1].sha256
    assert [entry.external[0].file for entry in entries] == ["d.data", "d.data"]
    assert entries[0].external[0].sha256 != entries[1].external[0].sha256
