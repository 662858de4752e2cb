"""make_bundle from the command line: a folder that opens, is replaced whole or not at all, and comes back."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from nanoseg.bundle import open_bundle, sha256_of
from nanoseg.graphs.compose import NOT_IN_TENSORRT
from tests.tiny_networks import CLASSES, decoder, encoder, run, save, some_detector


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "make_bundle.py"
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


def content(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


def test_a_bundle_of_three_networks(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "nuts"
    accuracy = {"float32": {"map50_95": 0.5, "map50": 0.75, "miou": 0.8, "dataset": "parts", "images": 300}}
    (tmp_path / "accuracy.json").write_text(json.dumps(accuracy))
    flags = ["--licence", "Apache-2.0", "--weights-note", "made up", "--accuracy", str(tmp_path / "accuracy.json")]
    assert tool.main([*inputs, "--out", str(out), "--confidence", "0.4", *flags]) == 0
    made = open_bundle(out)
    assert sorted(content(out)) == ["bundle.toml", "detect.onnx", "embed.onnx", "prepare.onnx", "segment.onnx"]
    assert (made.name, made.labels, made.licence) == ("nuts", ("nut", "bolt", "washer"), "Apache-2.0")
    assert (made.detector_px, made.rescale_px, made.encoder_px) == (64, 64, 64)
    assert (made.confidence, made.iou, made.max_detections) == (0.4, 0.7, 20 * CLASSES)
    assert made.networks["detector"].sha256 == sha256_of(tmp_path / "detector.onnx")
    assert made.networks["decoder"].architecture == "decoder"
    assert made.networks["encoder"].weights == "made up"
    assert made.accuracy["float32"].images == 300
    assert {graph.precision for graph in made.graphs.values()} == {"fp32"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["nuts"]


def test_the_graphs_chain_for_any_frame(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts")]) == 0
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


def test_every_graph_is_lean(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    for graph in open_bundle(tmp_path / "nuts").graphs.values():
        model = onnx.load(graph.path)
        assert not {node.op_type for node in model.graph.node} & NOT_IN_TENSORRT
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
        assert model.ir_version <= 10
        read = {name for node in model.graph.node for name in node.input}
        assert {tensor.name for tensor in model.graph.initializer} <= read


def test_twice_gives_the_same_files(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    for name in "ab":
        assert tool.main([*inputs, "--out", str(tmp_path / name), "--name", "nuts"]) == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert "accuracy" not in (tmp_path / "a" / "bundle.toml").read_text()


def test_replaced_and_put_back(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "nuts"
    versions = []
    for version in "123":
        assert tool.main([*inputs, "--out", str(out), "--version", version]) == 0
        versions.append(content(out))
    assert open_bundle(out).version == "3"
    assert content(tmp_path / "nuts.previous") == versions[1]
    for want, other in ((1, 2), (2, 1)):
        assert tool.main(["--restore", "--out", str(out)]) == 0
        assert content(out) == versions[want]
        assert content(tmp_path / "nuts.previous") == versions[other]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--confidence", "1.5"], 2, "confidence: wanted 0 to 1, got 1.5"),
        (["--rescale", "65"], 4, "rescale_px: wanted 1 to 64"),
        (["--max-detections", "0"], 4, "max_detections: wanted 1 to 3840, got 0"),
        (["--labels", "nowhere.txt"], 4, "nowhere.txt: cannot be read"),
        (["--labels", "two.txt"], 4, "two.txt: wanted 3 labels, one a class of the detector, got 2"),
        (["--accuracy", "two.txt"], 4, "two.txt: wanted measured accuracy as JSON"),
        (["--detector", "encoder.onnx"], 4, "encoder.onnx: wants the inputs images, got image"),
        (["--encoder", "large.onnx"], 4, "wants (1, 256, 4, 4), but large.onnx gives (1, 256, 8, 8)"),
        (["--encoder", "nan.onnx"], 4, "embed.onnx: 'image_embeddings' holds NaN or infinity"),
        (["--encoder", "beyond.onnx"], 4, "embed.onnx: ONNX Runtime does not run it"),
        (["--decoder", "wrong.onnx"], 4, "segment.onnx: the network in it does not fit together"),
    ],
)
def test_a_failure_leaves_the_old_one(
    flags: list[str], code: int, message: str, tool: ModuleType, inputs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("two.txt").write_text("nut\nbolt\n")
    encoder(Path("large.onnx"), grid=8)
    nan = onnx.load("encoder.onnx")
    nan.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((256, 3, 16, 16), np.nan, np.float32), "weight")
    )
    onnx.save(nan, "nan.onnx")
    wrong = onnx.load("decoder.onnx")
    sizes = next(tensor for tensor in wrong.graph.initializer if tensor.name == "weights_shape")
    sizes.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 4, 31]), "weights_shape"))
    onnx.save(wrong, "wrong.onnx")
    beyond = onnx.load("encoder.onnx")
    beyond.graph.node[0].output[0] = "map"
    beyond.graph.node.append(onnx.helper.make_node("Gather", ["map", "channels"], ["image_embeddings"], axis=1))
    beyond.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(256) + 1, "channels"))
    onnx.save(beyond, "beyond.onnx")
    assert tool.main([*inputs, "--out", "nuts"]) == 0
    before, names = content(tmp_path / "nuts"), sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert tool.main([*inputs, "--out", "nuts", *flags]) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("make_bundle: ")
    assert message in last
    assert content(tmp_path / "nuts") == before
    assert sorted(tmp_path.iterdir()) == names


def test_a_folder_of_something_else_is_not_replaced(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    assert tool.main([*inputs, "--out", str(tmp_path / "photos")]) == 2
    assert content(tmp_path / "photos").keys() == {"cat.jpg"}


def test_flags_that_are_missing(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--out", str(tmp_path / "nuts"), "--encoder", "e.onnx"]) == 2
    assert "--detector, --decoder: wanted an ONNX file each" in capsys.readouterr().err
    assert tool.main(["--restore", "--out", str(tmp_path / "nuts")]) == 4


def test_labels_from_the_detectors_metadata(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    without = [*inputs[:6], "--out", str(tmp_path / "nuts")]
    assert tool.main(without) == 4
    model = onnx.load(tmp_path / "detector.onnx")
    onnx.helper.set_model_props(model, {"labels": '["a", "b", "c"]', "architecture": "tiny"})
    onnx.save(model, tmp_path / "detector.onnx")
    assert tool.main(without) == 0
    made = open_bundle(tmp_path / "nuts")
    assert (made.labels, made.networks["detector"].architecture) == (("a", "b", "c"), "tiny")


def test_all_masks_and_a_decoder_of_one_prompt(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    decoder(tmp_path / "decoder.onnx", prompts=1, mask_input=True, opset=16)
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts"), "--masks", "all"]) == 0
    output = onnx.load(tmp_path / "nuts" / "segment.onnx").graph.output[0]
    assert [side.dim_value for side in output.type.tensor_type.shape.dim] == [1, 4, 16, 16]


@pytest.mark.parametrize(("side", "rescale"), [(640, 636), (320, 320)])
def test_the_usual_rescale(side: int, rescale: int, tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    model = onnx.load(tmp_path / "detector.onnx")
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = side
    onnx.save(model, tmp_path / "detector.onnx")
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    assert open_bundle(tmp_path / "nuts").rescale_px == rescale


def test_what_tensorrt_cannot_build_is_said(
    tool: ModuleType, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["image", "weight"], ["map"], strides=[16, 16]),
        onnx.helper.make_node("OneHot", ["zero", "depth", "off_on"], ["one"]),
        onnx.helper.make_node("Mul", ["map", "one"], ["image_embeddings"]),
    ]
    constants = {
        "weight": np.ones((256, 3, 16, 16), np.float32), "zero": np.array([0]), "depth": np.array([1]),
        "off_on": np.float32([0, 1]),
    }  # fmt: skip
    shapes = {"image": (1, 3, 64, 64)}, {"image_embeddings": (1, 256, 4, 4)}
    save(tmp_path / "encoder.onnx", *shapes, nodes, constants)
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    assert "embed.onnx: TensorRT cannot build OneHot" in capsys.readouterr().err
