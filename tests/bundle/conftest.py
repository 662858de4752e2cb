"""The tool as a file of its own, and three tiny networks for it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.tiny_networks import decoder, encoder, some_detector


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "make_bundle.py"
    spec = importlib.util.spec_from_file_location("make_bundle_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
