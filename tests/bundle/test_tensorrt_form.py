"""A graph in two forms: one that a CPU runs, and another of the same inputs and outputs that TensorRT builds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER, open_bundle
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy import compose
from nanoseg.onnx_graphs.deploy.low_rank.graph import LOW_RANK
from nanoseg.utils.hashing import sha256_of_file
from tests.bundle.folders import make
from tests.onnx_graphs.deploy.test_segment_boxes import token_decoder

HEAD = "[graphs.segment_boxes.tensorrt]\n"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return shutil.copytree(EMBEDDED_FOLDER / EMBEDDED_BUNDLE, tmp_path / "parts")


def edited(folder: Path, change: Callable[[str], str]) -> None:
    """Change what bundle.toml says about the form."""
    path = folder / "bundle.toml"
    before, form = path.read_text().split(HEAD)
    form, rest = form.split("[networks.detector]")
    path.write_text(f"{before}{HEAD}{change(form)}[networks.detector]{rest}")


def test_bundle_has_a_form_for_tensorrt(parts: Path) -> None:
    graphs = open_bundle(parts).graphs
    form = graphs["segment_boxes"].built
    assert (form.file, form.precision) == (f"{LOW_RANK}.onnx", "fp32")
    assert form.path.is_file()
    assert form.sha256 != graphs["segment_boxes"].sha256
    assert graphs["segment_boxes"].all_bytes == form.bytes + (parts / "segment_boxes.onnx").stat().st_size
    assert all(graph.built is graph for name, graph in graphs.items() if name != "segment_boxes")


def test_bundle_without_a_form_opens(parts: Path) -> None:
    """As those that were made before it."""
    edited(parts, lambda form: "")
    path = parts / "bundle.toml"
    path.write_text(path.read_text().replace(HEAD, ""))
    (parts / f"{LOW_RANK}.onnx").unlink()
    graph = open_bundle(parts).graphs["segment_boxes"]
    assert graph.built is graph
    assert graph.all_bytes == graph.bytes


def test_bundle_verifies_the_form(parts: Path) -> None:
    path = parts / f"{LOW_RANK}.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{LOW_RANK}\.onnx"):
        open_bundle(parts)
    path.unlink()
    with pytest.raises(BundleError, match=rf"{LOW_RANK}\.onnx"):
        open_bundle(parts)


def test_bundle_refuses_another_graph_as_the_form(parts: Path) -> None:
    """One of other inputs; one that is another graph's file; one whose weights are not listed."""
    kept = (parts / "bundle.toml").read_text()
    shutil.copyfile(parts / "embed.onnx", parts / "other.onnx")
    size, digest = (parts / "other.onnx").stat().st_size, sha256_of_file(parts / "other.onnx")
    edited(parts, lambda form: f'file = "other.onnx"\nsha256 = "{digest}"\nbytes = {size}\n\n')
    with pytest.raises(BundleError, match=r"other\.onnx: wanted the input 'image_embeddings' of segment_boxes"):
        open_bundle(parts)
    (parts / "bundle.toml").write_text(kept)
    edited(parts, lambda form: form.replace(f"{LOW_RANK}.onnx", "embed.onnx", 1))
    with pytest.raises(BundleError, match=r"graphs\.segment_boxes\.tensorrt\.file: wanted a file of its own"):
        open_bundle(parts)
    (parts / "bundle.toml").write_text(kept)
    edited(parts, lambda form: form.split("[[")[0])
    with pytest.raises(BundleError, match=r"graphs\.segment_boxes\.tensorrt\.external: wanted segment\.onnx"):
        open_bundle(parts)


@pytest.mark.parametrize("error", [0.0, 0.5, float("nan")])
def test_make_takes_a_form_of_equal_values_alone(
    error: float, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def other_form(boxes: onnx.ModelProto) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(boxes)
        tensor = next(each for each in model.graph.initializer if each.name == "second_up")
        value = numpy_helper.to_array(tensor) + np.float32(error)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return model

    monkeypatch.setattr(compose, "low_rank_graph", other_form)
    decoder = token_decoder(tmp_path / "decoder.onnx")
    others = [str(decoder) if each.endswith("decoder.onnx") else each for each in inputs]
    assert make([*others, "--out", str(tmp_path / "out" / "nuts")]) == 0
    graph = open_bundle(tmp_path / "out" / "nuts").graphs["segment_boxes"]
    assert (graph.for_tensorrt is None) is bool(error)
    assert (tmp_path / "out" / "nuts" / f"{LOW_RANK}.onnx").exists() is not bool(error)
    assert ("; it is left out" in "".join(capfd.readouterr())) is bool(error)
