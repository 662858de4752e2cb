"""Opening a bundle, and the message for each kind of damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nanoseg.bundle import bundle as bundle_module
from nanoseg.bundle import open_bundle
from nanoseg.bundle.manifest import GRAPHS, OPTIONAL_GRAPHS
from nanoseg.errors import BundleError
from nanoseg.utils.hashing import sha256_of_file

GRAPH = '[graphs.{0}]\nfile = "{0}.onnx"\nsha256 = "{1}"\nbytes = 5\nprecision = "fp32"\n'
NETWORK = '[networks.{0}]\narchitecture = "tiny"\nsha256 = "{1}"\nweights = "formula"\n'
HEAD = """format = 1
name = "nuts"
version = "3"
description = "A test."
licence = "Apache-2.0"
labels = ["nut", "bolt"]
[thresholds]
confidence = 0.25
iou = 0.7
max_detections = 300
[input]
detector_px = 320
rescale_px = 320
encoder_px = 512
"""
ACCURACY = '[accuracy.float32]\nmap50_95 = 0.5\nmap50 = 0.75\nmiou = 0.875\ndataset = "parts"\nimages = 300\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A valid bundle whose graphs are five letters each."""
    made = tmp_path / "nuts"
    made.mkdir()
    text = HEAD
    for name in GRAPHS:
        (made / f"{name}.onnx").write_text(name[:5])
        text += GRAPH.format(name, sha256_of_file(made / f"{name}.onnx"))
    for name in ("detector", "encoder", "decoder"):
        text += NETWORK.format(name, "0" * 64)
    (made / "bundle.toml").write_text(text + ACCURACY)
    return made


def add_masks(folder: Path, graph: bool = True, network: bool = True) -> None:
    """Add the graph and the network for mask prompts."""
    (folder / "segment_mask.onnx").write_text("masks")
    text = (folder / "bundle.toml").read_text()
    text += GRAPH.format("segment_mask", sha256_of_file(folder / "segment_mask.onnx")) if graph else ""
    text += NETWORK.format("mask_decoder", "1" * 64) if network else ""
    (folder / "bundle.toml").write_text(text)


def replaced(old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        text = (folder / "bundle.toml").read_text()
        assert old in text
        (folder / "bundle.toml").write_text(text.replace(old, new, 1))

    return edit


def test_bundle_open(folder: Path) -> None:
    opened = open_bundle(folder)
    assert (opened.path, opened.name, opened.version, opened.labels) == (folder, "nuts", "3", ("nut", "bolt"))
    assert (opened.confidence, opened.iou, opened.max_detections) == (0.25, 0.7, 300)
    assert (opened.detector_px, opened.rescale_px, opened.encoder_px) == (320, 320, 512)
    assert list(opened.graphs) == ["prepare", "detect", "embed", "segment"]
    assert opened.graphs["embed"].path == folder / "embed.onnx"
    assert opened.graphs["embed"].precision == "fp32"
    assert opened.networks["encoder"].weights == "formula"
    assert opened.accuracy["float32"].miou == 0.875
    assert "deployed" not in opened.accuracy


def test_bundle_with_mask_prompts(folder: Path) -> None:
    assert "segment_mask" not in open_bundle(folder).graphs
    assert list(open_bundle(folder).networks) == ["detector", "encoder", "decoder"]
    add_masks(folder)
    opened = open_bundle(folder)
    assert list(opened.graphs) == ["prepare", "detect", "embed", "segment", "segment_mask"]
    assert opened.graphs["segment_mask"].path == folder / "segment_mask.onnx"
    assert opened.networks["mask_decoder"].sha256 == "1" * 64
    assert {*GRAPHS, *OPTIONAL_GRAPHS} == {*opened.graphs, "segment_boxes"}


@pytest.mark.parametrize(("graph", "network"), [(True, False), (False, True)])
def test_bundle_mask_graph_wants_its_network(graph: bool, network: bool, folder: Path) -> None:
    add_masks(folder, graph, network)
    with pytest.raises(BundleError, match=r"bundle\.toml: wanted graphs\.segment_mask and networks\.mask_decoder both"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda path: path.write_text("masKs"), "wanted sha256"),
        (lambda path: path.write_text("mask"), "wanted 5 bytes, got 4"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
)
def test_bundle_damaged_mask_graph(edit: Callable[[Path], object], what: str, folder: Path) -> None:
    add_masks(folder)
    edit(folder / "segment_mask.onnx")
    with pytest.raises(BundleError) as error:
        open_bundle(folder)
    assert str(error.value).startswith(f"{folder / 'segment_mask.onnx'}: {what}")


def test_bundle_open_by_file_and_by_text(folder: Path) -> None:
    assert open_bundle(folder / "bundle.toml") == open_bundle(str(folder))


def test_bundle_open_by_embedded_name(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle_module, "EMBEDDED_FOLDER", folder.parent)
    monkeypatch.chdir(Path(__file__).parent)
    assert open_bundle("nuts").path == folder
    with pytest.raises(BundleError, match="bolts: no such bundle; give its folder, or one of those installed: nuts"):
        open_bundle("bolts")


def test_bundle_embedded_name_of_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle_module, "EMBEDDED_FOLDER", folder.parent)
    here = tmp_path / "here"
    (here / "nuts").mkdir(parents=True)
    monkeypatch.chdir(here)
    assert open_bundle("nuts").path == folder
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        open_bundle("./nuts")
    shutil.copytree(folder, here / "nuts", dirs_exist_ok=True)
    assert open_bundle("nuts").path == Path("nuts")


def test_bundle_name_too_long() -> None:
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        open_bundle("a" * 5000)


def test_bundle_without_accuracy(folder: Path) -> None:
    replaced(ACCURACY, "")(folder)
    assert open_bundle(folder).accuracy == {}


@pytest.mark.parametrize(
    ("edit", "where", "what"),
    [
        (lambda f: (f / "detect.onnx").write_text("detEc"), "detect.onnx", "wanted sha256"),
        (lambda f: (f / "segment.onnx").write_text("seg"), "segment.onnx", "wanted 5 bytes, got 3"),
        (lambda f: (f / "embed.onnx").unlink(), "embed.onnx", "cannot be read: No such file"),
        (lambda f: (f / "bundle.toml").unlink(), "bundle.toml", "cannot be read: No such file"),
        (lambda f: (f / "bundle.toml").write_text("format = "), "bundle.toml", "not TOML"),
        (lambda f: (f / "bundle.toml").write_bytes(b"\xff\xfe"), "bundle.toml", "wanted UTF-8 text, got UTF-16"),
        (replaced("format = 1", "format = 2\nfuture = true"), "bundle.toml", "format: wanted 1, got 2; a newer"),
        (replaced("format = 1", ""), "bundle.toml", "format: wanted 1, got none"),
        (replaced("iou = 0.7", "iou = 1.7"), "bundle.toml", "thresholds.iou: Expected `float` <= 1.0"),
        (replaced("iou = 0.7", 'iou = "high"'), "bundle.toml", "thresholds.iou: Expected `float`, got `str`"),
        (replaced("iou = 0.7", "iuo = 0.7"), "bundle.toml", "thresholds: Object contains unknown field `iuo`"),
        (replaced("encoder_px = 512", ""), "bundle.toml", "input: Object missing required field `encoder_px`"),
        (replaced('["nut", "bolt"]', "[]"), "bundle.toml", "labels: Expected `array` of length >= 1"),
        (replaced('"embed.onnx"', '"../embed.onnx"'), "bundle.toml", "graphs.embed.file: Expected `str` matching"),
        (replaced('"fp32"', '"fp8"'), "bundle.toml", "graphs.prepare.precision: Invalid enum value 'fp8'"),
        (replaced("miou = 0.875", "miou = 87.5"), "bundle.toml", "accuracy.float32.miou: Expected `float` <= 1.0"),
    ],
)
def test_bundle_damage(edit: Callable[[Path], object], where: str, what: str, folder: Path) -> None:
    edit(folder)
    with pytest.raises(BundleError) as error:
        open_bundle(folder)
    assert str(error.value).startswith(f"{folder / where}: {what}")
    assert "\n" not in str(error.value)


def test_bundle_one_bit_of_any_graph(folder: Path) -> None:
    for name in GRAPHS:
        path = folder / f"{name}.onnx"
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(BundleError, match=f"{name}.onnx: wanted sha256"):
            open_bundle(folder)
        path.write_bytes(whole)
    open_bundle(folder)
