"""Three tiny networks to make a bundle of."""

from pathlib import Path

import pytest

from tests.helpers.tiny_networks import decoder, encoder, some_detector


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """The flags that every bundle needs."""
    (tmp_path / "labels.txt").write_text("nut\nbolt\n washer \n\n", encoding="utf-8")
    return [
        *("--detector", str(some_detector(tmp_path / "detector.onnx"))),
        *("--encoder", str(encoder(tmp_path / "encoder.onnx"))),
        *("--decoder", str(decoder(tmp_path / "decoder.onnx"))),
        *("--labels", str(tmp_path / "labels.txt")),
    ]
