"""Weights outside an ONNX file: recorded, verified, and named where something is wrong with them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.backends.onnxruntime.cpu_graphs import cpu_graph
from nanoseg.bundle import open_bundle
from nanoseg.bundle.external_data import hash_external_data, read_external_data
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.utils.hashing import sha256_of_file
from tests.bundle.folders import make
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import encoder


def outside(path: Path, location: str = "weights.data") -> Path:
    """Move a network's weights to another file."""
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def relocate(path: Path, location: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


def external(name: str, location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "16"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_external_data_is_found_everywhere(tmp_path: Path) -> None:
    """In initializers, attributes, subgraphs and functions."""
    inner = helper.make_graph([], "inner", [], [], [external("a", "inner.data")])
    nodes = [
        helper.make_node("Constant", [], ["b"], value=external("b", "attribute.data")),
        helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner),
    ]
    function = helper.make_function(
        "own", "f", [], ["e"], [helper.make_node("Constant", [], ["e"], value=external("e", "function.data"))], []
    )
    graph = helper.make_graph(nodes, "g", [], [], [external("f", "weights.data"), external("g", "weights.data")])
    (tmp_path / "g.onnx").write_bytes(helper.make_model(graph, functions=[function]).SerializeToString())
    assert read_external_data(tmp_path / "g.onnx") == dict.fromkeys(
        ("inner.data", "attribute.data", "function.data", "weights.data"), 32
    )
    assert read_external_data(encoder(tmp_path / "e.onnx")) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "weights.data").unlink(), "weights.data: No such file or directory; keep it beside e.onnx"),
        (lambda d: os.truncate(d / "weights.data", 100), "bytes or more, got 100; copy it anew"),
        (lambda d: os.truncate(d / "weights.data", 0), "bytes or more, got 0; copy it anew"),
        (
            lambda d: ((d / "weights.data").unlink(), (d / "weights.data").mkdir()),
            "in no file but something else, ",
        ),
        (
            lambda d: ((d / "weights.data").unlink(), os.mkfifo(d / "weights.data")),
            "in no file but something else, ",
        ),
        (lambda d: relocate(d / "e.onnx", "../weights.data"), "outside its folder, '../weights.data'"),
        (lambda d: relocate(d / "e.onnx", str(d / "weights.data")), "got weights outside its folder"),
        (lambda d: relocate(d / "e.onnx", ""), "got weights outside its folder, ''"),
        (
            lambda d: (shutil.move(d / "weights.data", d.parent), (d / "weights.data").symlink_to("../weights.data")),
            "got weights outside its folder, 'weights.data'",
        ),
        (lambda d: relocate(d / "e.onnx", "weights.data\0"), r"outside its folder, 'weights.data\x00'"),
        (
            lambda d: ((d / "weights.data").unlink(), (d / "weights.data").symlink_to("weights.data")),
            "wanted an ONNX model, got weights ",
        ),
    ],
    ids=["missing", "short", "empty", "folder", "pipe", "parent", "absolute", "no name", "link", "NUL", "loop"],
)  # fmt: skip
def test_external_data_damaged(change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "networks"
    folder.mkdir()
    path = outside(encoder(folder / "e.onnx"))
    read_model(path)
    change(folder)
    with pytest.raises(BundleError) as error:
        read_model(path)
    assert str(error.value).startswith(f"{path}: wanted an ONNX model, got weights ")
    assert "weights.data" in str(error.value) or "''" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_external_data_of_networks_is_recorded(inputs: list[str], tmp_path: Path) -> None:
    """Two networks whose files differ in their weights alone."""
    found = []
    for scale in (1, 2):
        folder = tmp_path / str(scale)
        folder.mkdir()
        model = onnx.load(encoder(folder / "e.onnx"))
        weight = model.graph.initializer[0]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(scale), weight.name))
        onnx.save(model, folder / "e.onnx")
        path, out = outside(folder / "e.onnx"), folder / "nuts"
        assert make([*inputs, "--encoder", str(path), "--out", str(out)]) == 0
        entry = open_bundle(out).networks["encoder"]
        assert entry.sha256 == sha256_of_file(path)
        (file,) = entry.external
        data = folder / "weights.data"
        assert (file.file, file.sha256, file.bytes) == ("weights.data", sha256_of_file(data), data.stat().st_size)
        found.append(entry)
    assert found[0].sha256 == found[1].sha256
    assert found[0].external != found[1].external


def test_external_data_of_zeros_is_noticed(
    inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sparse file of the right size, as a broken download leaves it."""
    path = outside(encoder(tmp_path / "e.onnx"))
    data = tmp_path / "weights.data"
    data.write_bytes(bytes(data.stat().st_size))
    assert make([*inputs, "--encoder", str(path), "--out", str(tmp_path / "nuts")]) == 4
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{path}: 'image_embeddings' is 0 for every image: all its weights are 0" in last


@pytest.fixture
def bundle(inputs: list[str], tmp_path: Path) -> Path:
    """A bundle by hand: the INT8 weights of detect.onnx lie in another file, and bundle.toml lists it."""
    out = tmp_path / "nuts"
    detector = quantized_detector(tmp_path / "int8.onnx", 19)
    assert make([*inputs, "--detector", str(detector), "--out", str(out)]) == 0
    path, toml = out / "detect.onnx", out / "bundle.toml"
    before, size = sha256_of_file(path), path.stat().st_size
    outside(path)
    text = toml.read_text().replace(before, sha256_of_file(path))
    text = text.replace(f"bytes = {size}", f"bytes = {path.stat().st_size}")
    (file,) = hash_external_data(path)
    entry = f'[[graphs.detect.external]]\nfile = "{file.file}"\nsha256 = "{file.sha256}"\nbytes = {file.bytes}\n\n'
    toml.write_text(text.replace("[graphs.embed]", f"{entry}[graphs.embed]"))
    return out


def test_external_data_of_a_graph_is_verified(bundle: Path) -> None:
    """And belongs to the key of the CPU's cache and of engines: other weights are another graph."""
    first = open_bundle(bundle).graphs["detect"]
    assert first.sha256 != sha256_of_file(bundle / "detect.onnx")
    kept = cpu_graph(first)
    data = bundle / "weights.data"
    whole = data.read_bytes()
    for damaged, message in (
        (whole[:-1], f"wanted {len(whole)} bytes, got {len(whole) - 1}"),
        (whole + b"0", f"wanted {len(whole)} bytes, got {len(whole) + 1}"),
        (bytes([whole[0] ^ 1]) + whole[1:], "wanted sha256 "),
    ):
        data.write_bytes(damaged)
        with pytest.raises(BundleError) as error:
            open_bundle(bundle)
        assert str(error.value).startswith(f"{data}: {message}")
    (file,) = hash_external_data(bundle / "detect.onnx")
    toml = bundle / "bundle.toml"
    text = toml.read_text()
    recorded = text[text.index("[[graphs.detect.external]]") :].split('sha256 = "')[1][:64]
    toml.write_text(text.replace(recorded, file.sha256))
    other = open_bundle(bundle).graphs["detect"]
    assert other.sha256 != first.sha256
    assert cpu_graph(other) != kept


def test_external_data_that_is_not_listed(bundle: Path) -> None:
    toml = bundle / "bundle.toml"
    text = toml.read_text()
    start, end = text.index("[[graphs.detect.external]]"), text.index("[graphs.embed]")
    toml.write_text(text[:start] + text[end:])
    with pytest.raises(BundleError, match=r"graphs\.detect\.external: wanted weights\.data, which detect\.onnx refers"):
        open_bundle(bundle)
    toml.write_text(text.replace('file = "weights.data"', 'file = "../nuts/../weights.data"'))
    with pytest.raises(BundleError, match="got weights outside its folder"):
        open_bundle(bundle)
