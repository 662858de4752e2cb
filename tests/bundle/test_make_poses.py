"""A bundle of a detector of poses: its manifest, and what does not fit is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from nanoseg.backends.select import open_pipeline
from nanoseg.benchmark.latency import FixedObjects, fixed_boxes
from nanoseg.bundle import open_bundle
from nanoseg.bundle.reference import read_reference
from nanoseg.commands.info import info
from nanoseg.errors import BundleError
from tests.bundle.folders import make
from tests.helpers.tiny_networks import decoder, encoder, some_pose_detector


@pytest.fixture
def out(tmp_path: Path) -> Path:
    networks = {
        "detector": some_pose_detector(tmp_path / "pose.onnx"),
        "encoder": encoder(tmp_path / "encoder.onnx"),
        "decoder": decoder(tmp_path / "decoder.onnx"),
    }
    flags = [text for name, path in networks.items() for text in (f"--{name}", str(path))]
    assert make([*flags, "--out", str(tmp_path / "poses")]) == 0
    return tmp_path / "poses"


def test_make_poses_manifest(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = open_bundle(out)
    assert (made.labels, made.rescale_px, str(made.padding)) == (("person",), 64, "bottom-right 127")
    assert made.keypoints is not None
    assert (made.keypoints.names, made.keypoints.sigmas) == (["head", "foot", "belt"], [0.05, 0.1, 0.1])
    assert made.keypoints.skeleton == [(0, 1), (1, 2)]
    assert made.confidence == 0.5  # super-gradients' default of poses
    capsys.readouterr()
    info(str(out), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["keypoints"]["names"] == ["head", "foot", "belt"]
    assert shown["input"]["padding"] == "bottom-right 127"
    info(str(out), as_json=False)
    text = capsys.readouterr().out
    assert "3: head, foot, belt" in text
    assert "padding bottom-right 127" in text


# what is replaced in bundle.toml, and the message
REFUSED = {
    "a name too few": (('"belt",', ""), r"bundle.toml: keypoints.sigmas: wanted 2, one a name, got 3"),
    "a line to nowhere": (
        ("        2,\n", "        7,\n"),
        r"keypoints.skeleton: wanted pairs of indices from 0 to 2, got",
    ),
    "a name too many": (('"belt",', '"belt", "hand",'), r"keypoints.sigmas: wanted 4, one a name, got 3"),
    "another padding": (('"bottom-right"', '"left"'), r"bundle.toml: input.padding: Invalid enum value 'left'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_make_poses_manifest_refused(case: str, out: Path) -> None:
    (old, new), message = REFUSED[case]
    text = (out / "bundle.toml").read_text()
    assert old in text, text
    (out / "bundle.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(BundleError, match=message):
        open_bundle(out)


def test_make_poses_graph_of_another_number_is_refused(out: Path) -> None:
    before, table, after = re.split(r"(?s)(\[keypoints\].*?(?=\n\[\w))", (out / "bundle.toml").read_text())
    assert "belt" in table
    (out / "bundle.toml").write_text(f'{before}[keypoints]\nnames = ["a", "b"]\n{after}')
    with pytest.raises(BundleError, match=r"detect.onnx: 'keypoints' wants 2 where it has 3 in \(20, 3, 3\)"):
        open_bundle(out)


def test_make_poses_are_benchmarked(out: Path) -> None:
    """With reference frames, and with fixed boxes that have keypoints of nothing."""
    bundle = open_bundle(out)
    assert bundle.reference is not None
    assert read_reference(bundle.reference).frames
    with FixedObjects(bundle, open_pipeline(bundle, "onnxruntime")) as segmenter:
        segmenter.boxes = fixed_boxes(3, (64, 48))
        found = segmenter(np.zeros((48, 64, 3), np.uint8))
    assert len(found) == 3
    assert found.keypoints is not None
    assert found.keypoints.shape == (3, 3, 3)


@pytest.mark.slow
def test_make_poses_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    from tests.helpers import yolo_nas_files as files

    torch.save(files.super_gradients_pose(files.pose_network(4).state_dict(), None), tmp_path / "ckpt_best.pth")
    (tmp_path / "k.toml").write_text('names = ["tip", "neck", "left", "right"]')
    networks = ["--encoder", str(encoder(tmp_path / "e.onnx")), "--decoder", str(decoder(tmp_path / "d.onnx"))]
    flags = ["--size", "64", "--keypoints", str(tmp_path / "k.toml"), "--labels", "bolt", "--confidence", "0.3"]
    out = tmp_path / "bolts"
    assert make(["--detector", str(tmp_path / "ckpt_best.pth"), *networks, *flags, "--out", str(out)]) == 0
    made = open_bundle(out)
    assert (made.labels, made.confidence, made.keypoints.names[1]) == (("bolt",), 0.3, "neck")
    assert made.networks["detector"].architecture == "yolo_nas_pose_slim"


def test_make_poses_keypoints_want_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = {
        "detector": some_pose_detector(tmp_path / "pose.onnx"),
        "encoder": encoder(tmp_path / "e.onnx"),
        "decoder": decoder(tmp_path / "d.onnx"),
    }
    flags = [text for name, path in networks.items() for text in (f"--{name}", str(path))]
    assert make([*flags, "--keypoints", "coco", "--out", str(tmp_path / "poses")]) == 2
    assert "--keypoints: wanted with a checkpoint as --detector, got pose.onnx" in capsys.readouterr().err
