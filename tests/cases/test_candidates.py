"""How many boxes go into NMS and come out of it (models/19): as in super-gradients, two numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import nanoseg
from nanoseg.bundle import open_bundle
from nanoseg.commands.info import info
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.model.contract import DETECTOR, load_network
from nanoseg.utils.hashing import sha256_of_file
from tests.bundle.folders import make
from tests.helpers.tiny_networks import CLASSES, DETECTOR_PX, decoder, detector, encoder

FRAME = np.full((DETECTOR_PX, DETECTOR_PX, 3), 90, np.uint8)
# 900 groups of the same box three times, two of which NMS drops; the groups do not touch.
ANCHORS, SIDE = 2700, 2


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    group = np.arange(ANCHORS) % 900
    corner = np.stack([group % 30, group // 30], 1) * 2.1
    scores = np.zeros((ANCHORS, CLASSES))
    scores[np.arange(ANCHORS), group % CLASSES] = np.linspace(0.99, 0.5, ANCHORS)
    path = detector(tmp_path / "detector.onnx", np.concatenate([corner, corner + SIDE], 1), scores)
    return [
        *("--detector", str(path), "--labels", "nut,bolt,washer", "--anyway"),  # its scores are constants
        *("--encoder", str(encoder(tmp_path / "encoder.onnx")), "--decoder", str(decoder(tmp_path / "decoder.onnx"))),
    ]


@pytest.mark.parametrize(
    ("flags", "numbers", "boxes"),
    [
        ([], (300, 1024), 300),
        (["--max-detections", "3840"], (3840, 3840), 900),  # what users had to give for all boxes
        (["--max-detections", "1000"], (1000, 1024), 900),
        (["--max-detections", "900", "--max-candidates", "850"], (850, 850), 850),
        (["--max-candidates", "2000"], (300, 2000), 300),
        (["--max-detections", "1", "--max-candidates", "1"], (1, 1), 1),
    ],
)
def test_candidates_of_a_bundle(
    flags: list[str], numbers: tuple[int, int], boxes: int, inputs: list[str], tmp_path: Path
) -> None:
    assert make([*inputs, *flags, "--out", str(tmp_path / "made")]) == 0
    made = open_bundle(tmp_path / "made")
    assert (made.max_detections, made.max_candidates) == numbers
    with nanoseg.load(tmp_path / "made", "onnxruntime") as segmenter:
        found = segmenter.detect(FRAME, confidence=0.3)
    assert len(found.xyxy) == boxes
    assert (np.diff(found.confidence) < 0).all()
    assert len(np.unique(found.xyxy, axis=0)) == boxes


def test_candidates_of_a_bundle_made_before(inputs: list[str], tmp_path: Path) -> None:
    """One number in bundle.toml, and a graph without `candidates`: both still load, and give what they gave."""
    folder = tmp_path / "made"
    assert make([*inputs, "--max-detections", "1200", "--max-candidates", "1200", "--out", str(folder)]) == 0
    model = detect_graph(load_network(tmp_path / "detector.onnx", DETECTOR), 1200)
    (candidates,) = (output for output in model.graph.output if output.name == "candidates")
    model.graph.output.remove(candidates)
    before = open_bundle(folder).graphs["detect"]
    onnx.save(model, before.path)
    text = (folder / "bundle.toml").read_text(encoding="utf-8")
    text = text.replace("max_candidates = 1200\n", "").replace(before.sha256, sha256_of_file(before.path))
    text = text.replace(f"bytes = {before.bytes}", f"bytes = {before.path.stat().st_size}")
    (folder / "bundle.toml").write_text(text, encoding="utf-8")
    opened = open_bundle(folder)
    assert (opened.max_detections, opened.max_candidates) == (1200, None)
    with nanoseg.load(folder, "onnxruntime", confidence=0.3) as segmenter:
        assert len(segmenter.detect(FRAME).xyxy) == 900


def test_candidates_in_info(inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make([*inputs, "--out", str(tmp_path / "made")]) == 0
    capsys.readouterr()
    info(str(tmp_path / "made"), as_json=True)
    assert '"max_candidates": 1024' in capsys.readouterr().out
