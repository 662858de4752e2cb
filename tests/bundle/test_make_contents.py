"""What a bundle of three networks holds, and that its graphs pipeline."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.bundle import open_bundle
from nanoseg.commands.info import info
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from nanoseg.onnx_graphs.model.simplify import UNSUPPORTED_OPERATORS
from nanoseg.utils.hashing import sha256_of_file
from tests.bundle.folders import content, make
from tests.helpers.onnx_run import run
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import CLASSES


def test_make_bundle_of_three_networks(inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "nuts"
    accuracy = {"float32": {"map50_95": 0.5, "map50": 0.75, "miou": 0.8, "dataset": "parts", "images": 300}}
    (tmp_path / "accuracy.json").write_text(json.dumps(accuracy))
    flags = ["--licence", "Apache-2.0", "--weights-note", "made up", "--accuracy", str(tmp_path / "accuracy.json")]
    assert make([*inputs, "--out", str(out), "--confidence", "0.4", *flags]) == 0
    made = open_bundle(out)
    assert sorted(content(out)) == [
        *("bundle.toml", "detect.onnx", "embed.onnx", "prepare.onnx", "reference.json", "segment.onnx")
    ]
    assert (made.name, made.labels, made.licence) == ("nuts", ("nut", "bolt", "washer"), "Apache-2.0")
    assert (made.detector_px, made.rescale_px, made.encoder_px) == (64, 64, 64)
    assert (made.confidence, made.iou, made.max_detections) == (0.4, 0.7, 20 * CLASSES)
    assert made.max_candidates == 20 * CLASSES
    assert made.networks["detector"].sha256 == sha256_of_file(tmp_path / "detector.onnx")
    assert made.networks["decoder"].architecture == "decoder"
    assert made.networks["encoder"].weights == "made up"
    assert made.accuracy["float32"].images == 300
    assert {graph.precision for graph in made.graphs.values()} == {"fp32"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["nuts"]


def test_make_nms_across_classes(inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest says so, and detect.onnx does so; a manifest that says otherwise than its graph is refused."""
    made = {}
    for kind in ("by-class", "across-classes"):
        out = tmp_path / kind
        assert make([*inputs, "--out", str(out), "--nms", kind]) == 0
        made[kind] = open_bundle(out)
        assert made[kind].nms == kind
        assert ('nms = "across-classes"' in (out / "bundle.toml").read_text()) is (kind == "across-classes")
        capsys.readouterr()
        info(str(out), as_json=True)
        assert json.loads(capsys.readouterr().out)["thresholds"]["nms"] == kind
    feeds = {"images": np.full((1, 3, 64, 64), 0.5, np.float32), "geometry": np.float32([1, 1, 0, 0, 1, 1, 64, 64])}
    thresholds = {"confidence": np.float32(0.2), "iou": np.float32(0.3)}
    found = {kind: run(bundle.graphs["detect"].path, **feeds, **thresholds) for kind, bundle in made.items()}
    assert 0 < int(found["across-classes"]["count"]) < int(found["by-class"]["count"])
    path = tmp_path / "across-classes" / "bundle.toml"
    text = path.read_text()
    for changed, message in (
        ("", "thresholds.nms: wanted across-classes, as detect.onnx has it, got by-class; run it with --nms by-class"),
        ('nms = "per-class"', "thresholds.nms: Invalid enum value 'per-class'"),
    ):
        path.write_text(text.replace('nms = "across-classes"', changed))
        with pytest.raises(BundleError, match=re.escape(f"{path}: {message}")) as caught:
            open_bundle(path.parent)
        assert len(str(caught.value).splitlines()) == 1


def test_make_graphs_fit_together_for_any_frame(inputs: list[str], tmp_path: Path) -> None:
    assert make([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    graphs = {name: graph.path for name, graph in open_bundle(tmp_path / "nuts").graphs.items()}
    for height, width in ((48, 64), (30, 100)):
        frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        prepared = run(graphs["prepare"], frame=frame)
        geometry = prepared["geometry"]
        found = run(
            graphs["detect"], images=prepared["images"], geometry=geometry, confidence=np.float32(0.2),
            iou=np.float32(0.7),
        )  # fmt: skip
        count = int(found["count"])
        assert count > 0
        embedding = run(graphs["embed"], image=prepared["image"])["image_embeddings"]
        masks = run(
            graphs["segment"], image_embeddings=embedding, geometry=geometry,
            point_coords=found["boxes"][:count].reshape(-1, 2, 2),
            point_labels=np.tile(np.float32([2, 3]), (count, 1)),
        )  # fmt: skip
        assert masks["low_res_masks"].shape == (count, 1, 16, 16)


def test_make_keeps_precisions(inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An INT8 detector with the rest in float16, an encoder in float16: recorded, run and installed as such."""
    detector = onnx.load(quantized_detector(tmp_path / "detector.onnx", 19))
    onnx.save(to_fp16(detector, box_decode_nodes(detector.graph.node)), tmp_path / "detector.onnx")
    onnx.save(to_fp16(onnx.load(tmp_path / "encoder.onnx")), tmp_path / "encoder.onnx")
    assert make([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    capsys.readouterr()
    info(str(tmp_path / "nuts"), as_json=True)
    got = json.loads(capsys.readouterr().out)["graphs"]
    wanted = {"prepare": "fp32", "detect": "int8", "embed": "fp16", "segment": "fp32"}
    assert {name: graph["precision"] for name, graph in got.items()} == wanted
    graphs = {name: graph.path for name, graph in open_bundle(tmp_path / "nuts").graphs.items()}
    prepared = run(graphs["prepare"], frame=np.full((1, 40, 64, 3), 99, np.uint8))
    assert {name: array.dtype for name, array in prepared.items()} == {
        "images": np.float16, "image": np.float16, "geometry": np.float32,
    }  # fmt: skip
    assert run(graphs["embed"], image=prepared["image"])["image_embeddings"].dtype == np.float32


@pytest.mark.parametrize(
    ("got", "how"),
    [
        ({"method": "minmax", "pictures": 64, "kept": []}, "INT8 by minmax over 64 images"),
        (
            {"method": "percentile", "percentile": 99.99, "pictures": 8, "kept": ["stem", "neck.conv3"]},
            "INT8 by percentile 99.99 over 8 images, in float: stem, neck.conv3",
        ),
        ("by hand", ""),
    ],
)
def test_make_notes_how_a_detector_was_quantized(got: object, how: str, inputs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    model = onnx.load(path)
    model.metadata_props.add(key="quantized", value=json.dumps(got))
    onnx.save(model, path)
    assert make([*inputs, "--out", str(tmp_path / "mine"), "--weights-note", "made up"]) == 0
    assert open_bundle(tmp_path / "mine").networks["detector"].weights == "; ".join(filter(None, ("made up", how)))


def test_make_graphs_are_minimal(inputs: list[str], tmp_path: Path) -> None:
    assert make([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    for graph in open_bundle(tmp_path / "nuts").graphs.values():
        model = onnx.load(graph.path)
        assert not {node.op_type for node in model.graph.node} & UNSUPPORTED_OPERATORS
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
        assert model.ir_version <= 10
        read = {name for node in model.graph.node for name in node.input}
        assert {tensor.name for tensor in model.graph.initializer} <= read


def test_make_is_reproducible(inputs: list[str], tmp_path: Path) -> None:
    for name in "ab":
        assert make([*inputs, "--out", str(tmp_path / name), "--name", "nuts"]) == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert "accuracy" not in (tmp_path / "a" / "bundle.toml").read_text()
