"""make_bundle from the command line: a folder that opens, is replaced whole or not at all, and comes back."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from nanoseg.bundle import open_bundle, sha256_of
from nanoseg.errors import NanosegError
from nanoseg.graphs.flow import after_convolutions
from nanoseg.graphs.halve import halve
from nanoseg.graphs.make import Recipe, check
from nanoseg.graphs.simplify import NOT_IN_TENSORRT
from nanoseg.info import info
from tests.tiny_detectors import Table, quantized_detector
from tests.tiny_networks import (
    CLASSES,
    decoder,
    detector,
    encoder,
    run,
    sam_decoder,
    save,
    some_detector,
)


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


def test_a_bundle_in_its_own_precisions(
    tool: ModuleType, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An INT8 detector with the rest in float16, an encoder in float16: told, tried, and handed on as such."""
    detector = onnx.load(quantized_detector(tmp_path / "detector.onnx", 19))
    onnx.save(halve(detector, after_convolutions(detector.graph.node)), tmp_path / "detector.onnx")
    onnx.save(halve(onnx.load(tmp_path / "encoder.onnx")), tmp_path / "encoder.onnx")
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    capsys.readouterr()
    info(str(tmp_path / "nuts"), as_json=True)
    told = json.loads(capsys.readouterr().out)["graphs"]
    wanted = {"prepare": "fp32", "detect": "int8", "embed": "fp16", "segment": "fp32"}
    assert {name: graph["precision"] for name, graph in told.items()} == wanted
    graphs = {name: graph.path for name, graph in open_bundle(tmp_path / "nuts").graphs.items()}
    prepared = run(graphs["prepare"], frame=np.full((1, 40, 64, 3), 99, np.uint8))
    assert {name: array.dtype for name, array in prepared.items()} == {
        "images": np.float16, "image": np.float16, "geometry": np.float32,
    }  # fmt: skip
    assert run(graphs["embed"], image=prepared["image"])["image_embeddings"].dtype == np.float32


@pytest.mark.parametrize(
    ("told", "how"),
    [
        ({"method": "minmax", "pictures": 64, "kept": []}, "INT8 by minmax over 64 pictures"),
        (
            {"method": "percentile", "percentile": 99.99, "pictures": 8, "kept": ["stem", "neck.conv3"]},
            "INT8 by percentile 99.99 over 8 pictures, in float: stem, neck.conv3",
        ),
        ("by hand", ""),
    ],
)
def test_how_a_detector_was_quantized(
    told: object, how: str, tool: ModuleType, inputs: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "detector.onnx"
    model = onnx.load(path)
    model.metadata_props.add(key="quantized", value=json.dumps(told))
    onnx.save(model, path)
    assert tool.main([*inputs, "--out", str(tmp_path / "mine"), "--weights-note", "made up"]) == 0
    assert open_bundle(tmp_path / "mine").networks["detector"].weights == "; ".join(filter(None, ("made up", how)))


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
        (["--labels", "nowhere.txt"], 2, "--labels: nowhere.txt: wanted a text file, found none"),
        (["--labels", "two.txt"], 2, "--labels: wanted 3 labels, one a class of the detector, got 2"),
        (["--labels", "coco"], 2, "--labels: wanted 3 labels, one a class of the detector, got 80"),
        (["--accuracy", "two.txt"], 4, "two.txt: wanted measured accuracy as JSON"),
        (["--detector", "encoder.onnx"], 4, "encoder.onnx: wanted boxes (1, A, 4) and scores (1, A, C), got image_emb"),
        (["--detector", "logits.onnx"], 4, "logits.onnx: wanted scores from 0 to 1, got 0 to 3; logits are told"),
        (["--detector-form", "two.txt"], 2, "two.txt: not TOML"),
        (["--size", "32"], 4, "detector.onnx: wanted an input of 32 px, got one fixed at 64"),
        (
            ["--mask-decoder", "decoder.onnx"],
            4,
            "decoder.onnx: wants the inputs image_embeddings, point_coords, point_",
        ),
        (["--mask-prompts"], 4, "decoder.onnx: wants the inputs image_embeddings, point_coords, point_"),
        (["--mask-decoder", "large_mask.onnx"], 4, "large_mask.onnx: 'image_embeddings' wants (1, 256, 8, 8), but "),
        (["--decoder", "single.onnx", "--masks", "all"], 4, "single.onnx: --masks all wants a decoder of four masks"),
        (["--mask-decoder", "single.onnx", "--mask-prompts"], 2, "--mask-prompts: wanted without --mask-decoder"),
        (["--mask-decoder", "sam.pth"], 2, "--mask-decoder: wanted ONNX; of a checkpoint: --decoder CHECKPOINT"),
        (["--variant", "s"], 2, "--variant: wanted with a checkpoint as --detector, got detector.onnx"),
        (["--pixels", "bgr"], 2, "--pixels: wanted with a checkpoint as --detector, got detector.onnx"),
        (["--encoder-variant", "tiny_vit"], 2, "--encoder-variant: wanted with a checkpoint as --encoder, got enc"),
        (["--encoder-size", "512"], 2, "--encoder-size: wanted with a checkpoint as --encoder or --decoder"),
        (["--detector", "y.pth", "--detector-form", "f.toml"], 2, "--detector-form: wanted with an ONNX file"),
        (["--detector", "nowhere.pth"], 4, "nowhere.pth: no such file"),
        (["--encoder", "nowhere.onnx"], 4, "nowhere.onnx: no such file"),
        (["--encoder", "large.onnx"], 4, "wants (1, 256, 4, 4), but large.onnx gives (1, 256, 8, 8)"),
        (
            ["--encoder", "fine.onnx"],
            4,
            "a cell for every 16 px of its input, as SAM's are, got 4 cells a side for 32 px",
        ),
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
    for name in ("sam.pth", "y.pth"):
        Path(name).write_bytes(b"")
    encoder(Path("large.onnx"), grid=8)
    encoder(Path("fine.onnx"), cell_px=8)
    sam_decoder(Path("single.onnx"), single=True)
    large = onnx.load(sam_decoder(Path("large_mask.onnx")))
    for side in large.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 8
    onnx.save(large, "large_mask.onnx")
    logits = np.linspace(0, 3, 20 * CLASSES).reshape(20, CLASSES)
    detector(Path("logits.onnx"), np.tile([[1, 2, 30, 40]], (20, 1)), logits)
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


def siblings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("flags", [["--restore"], ["--version", "4"]])
def test_a_rename_that_fails_loses_nothing(
    flags: list[str], failing: int, tool: ModuleType, inputs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "bundles"
    out, before = folder / "nuts", folder / "nuts.previous"
    for version in "12":
        assert tool.main([*inputs, "--out", str(out), "--version", version]) == 0
    have = content(out), content(before)
    rename, calls = os.rename, []

    def fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails)
    assert tool.main([*inputs, "--out", str(out), *flags]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == f"make_bundle: {out}: cannot be written: No space left on device; choose another --out"
    assert len(calls) == 2 * failing - 1  # each that was done is undone
    assert (content(out), content(before)) == have
    assert siblings(folder) == ["nuts", "nuts.previous"]


def test_a_bundle_that_was_lost_is_put_back(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    assert tool.main([*inputs, "--out", str(folder / "nuts")]) == 0
    have = content(folder / "nuts")
    os.rename(folder / "nuts", folder / "nuts.previous")
    assert tool.main(["--restore", "--out", str(folder / "nuts")]) == 0
    assert siblings(folder) == ["nuts"]
    assert content(folder / "nuts") == have


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("there", [True, False])
def test_something_else_in_the_previous_ones_place(
    there: bool, kind: str, tool: ModuleType, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundles"
    before = folder / "nuts.previous"
    if there:
        assert tool.main([*inputs, "--out", str(folder / "nuts")]) == 0
    mine = before if kind == "file" else before / "cat.jpg"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("cat")
    have = siblings(folder)
    for flags in ([], ["--restore"]):
        assert tool.main([*inputs, "--out", str(folder / "nuts"), *flags]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(f"make_bundle: {before}: the bundle that was replaced last is kept there, got something")
    assert mine.read_text() == "cat"
    assert siblings(folder) == have


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("labels.txt/nuts", "labels.txt/nuts: cannot be written: "),
        ("labels.txt/a/nuts", "labels.txt/a/nuts: cannot be written: "),
        ("/proc/nothing/nuts", "/proc/nothing/nuts: cannot be written: "),
        ("x" * 300, "cannot be written: File name too long; choose another --out"),
        ("x" * 250, "cannot be written: File name too long; choose another --out"),
        ("/", "/: wanted a bundle to replace, or nothing, got something else"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--restore"]])
def test_a_place_that_cannot_be_written(
    flags: list[str], out: str, message: str, tool: ModuleType, inputs: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    have = siblings(tmp_path)
    assert tool.main([*inputs, "--out", out, *flags]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not any("reading the networks" in line for line in said)
    assert siblings(tmp_path) == have


def test_a_disk_that_is_full(
    tool: ModuleType, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert tool.main([*inputs, "--out", str(tmp_path / "a" / "nuts")]) == 2
    assert "nuts: cannot be written: No space left on device" in capsys.readouterr().err.replace("\n", " ")
    assert siblings(tmp_path / "a") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 2.0}, "confidence: wanted 0 to 1, got 2.0"),
        ({"labels": "nowhere.txt"}, "--labels: nowhere.txt: wanted a text file"),
        ({"accuracy": Path("nowhere.json")}, "nowhere.json: wanted measured accuracy"),
        ({"detector_form": Path("nowhere.toml")}, "nowhere.toml: cannot be read"),
    ],
)
def test_what_is_told_before_a_network_is_read(change: dict[str, object], message: str, tmp_path: Path) -> None:
    """So that nobody waits for an export first; the place is left as it was."""
    recipe = Recipe(Path("d.pt"), Path("e.pt"), Path("m.pt"), "nuts")
    with pytest.raises(NanosegError) as error:
        check(replace(recipe, **change), tmp_path / "a" / "b" / "nuts")
    assert message in str(error.value)
    check(recipe, tmp_path / "a" / "b" / "nuts")
    assert siblings(tmp_path) == []


def test_flags_that_are_missing(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--out", str(tmp_path / "nuts"), "--encoder", "e.onnx"]) == 2
    assert "--detector, --decoder: wanted a file each, ONNX or a checkpoint, got none" in capsys.readouterr().err
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


def test_a_decoder_of_others_and_what_is_said_of_it(
    tool: ModuleType, inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """segment_mask of the same file, in the folder, in bundle.toml and in its words."""
    path, single = sam_decoder(tmp_path / "sam.onnx"), sam_decoder(tmp_path / "single.onnx", single=True)
    out = tmp_path / "nuts"
    assert tool.main([*inputs, "--out", str(out), "--decoder", str(path), "--mask-prompts"]) == 0
    assert capsys.readouterr().err.count("sam.onnx: takes one prompt a call") == 1
    made = open_bundle(out)
    assert list(made.graphs) == ["prepare", "detect", "embed", "segment", "segment_mask"]
    assert sorted(content(out)) == sorted(["bundle.toml", *(f"{name}.onnx" for name in made.graphs)])
    assert made.networks["mask_decoder"].sha256 == made.networks["decoder"].sha256 == sha256_of(path)
    names = {value.name for value in onnx.load(out / "segment_mask.onnx").graph.input}
    assert names - {value.name for value in onnx.load(out / "segment.onnx").graph.input} == {
        "mask_input", "has_mask_input",
    }  # fmt: skip
    assert tool.main([*inputs, "--out", str(out), "--mask-decoder", str(single)]) == 0
    assert "single.onnx: gives one mask, its own choice of four" in capsys.readouterr().err
    made = open_bundle(out)
    assert made.networks["mask_decoder"].architecture == "single"
    assert made.networks["decoder"].architecture == "decoder"
    assert tool.main([*inputs, "--out", str(out)]) == 0
    assert "segment_mask.onnx" not in content(out)
    assert "segment_mask" not in (out / "bundle.toml").read_text()


def test_labels_as_ultralytics_leaves_them(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    model = onnx.load(tmp_path / "detector.onnx")
    for names, wanted in (
        ("{1: 'bolt', 0: 'nut', 2: 'it''s'}", 0), ("{0: 'nut'", 4), ("__import__('os')", 4), ("{[]: 1}", 4),
        ("{0: 'a', 'one': 'b', 2: 'c'}", 4), ("{1: 'a', 2: 'b', 3: 'c'}", 4), ("[" * 9999, 4),
    ):  # fmt: skip
        onnx.helper.set_model_props(model, {"names": names})
        onnx.save(model, tmp_path / "detector.onnx")
        assert tool.main([*inputs[:6], "--out", str(tmp_path / "nuts")]) == wanted
        assert open_bundle(tmp_path / "nuts").labels == ("nut", "bolt", "its")


def test_a_form_gives_the_frame_its_whole_side(tool: ModuleType, inputs: list[str], tmp_path: Path) -> None:
    """YOLO-NAS leaves a rim of two pixels at 640, others do not."""
    bias = np.concatenate([np.tile([320, 320, 50, 60], (16, 1)), np.full((16, 3), 0.5)], 1)
    pool = Table(np.zeros((3, 7)), bias).save(tmp_path / "v8.onnx", {"o": (0, 7)}, transposed=True, side=640)
    model = onnx.load(pool)
    for attribute in next(node for node in model.graph.node if node.op_type == "AveragePool").attribute:
        attribute.ints[:] = [160, 160]
    onnx.save(model, pool)
    (tmp_path / "f.toml").write_text('[outputs]\ntransposed = true\nbox_form = "cxcywh"\n')
    flags = ["--detector", str(pool), "--detector-form", str(tmp_path / "f.toml"), "--out", str(tmp_path / "nuts")]
    assert tool.main([*inputs, *flags]) == 0
    assert open_bundle(tmp_path / "nuts").rescale_px == 640
    assert tool.main([*inputs, *flags, "--rescale", "600"]) == 0
    assert open_bundle(tmp_path / "nuts").rescale_px == 600


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
        onnx.helper.make_node("ReduceMin", ["image", "no_axes"], ["darkest"], keepdims=0),
        onnx.helper.make_node("Mul", ["darkest", "nothing"], ["none"]),
        onnx.helper.make_node("Cast", ["none"], ["zero_scalar"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Unsqueeze", ["zero_scalar", "first"], ["zero"]),
        onnx.helper.make_node("OneHot", ["zero", "depth", "off_on"], ["one"]),
        onnx.helper.make_node("Mul", ["map", "one"], ["image_embeddings"]),
    ]
    constants = {
        "weight": np.ones((256, 3, 16, 16), np.float32), "depth": np.array([1]), "off_on": np.float32([0, 1]),
        "no_axes": np.zeros(0, np.int64), "nothing": np.float32(0), "first": np.array([0]),
    }  # fmt: skip
    shapes = {"image": (1, 3, 64, 64)}, {"image_embeddings": (1, 256, 4, 4)}
    save(tmp_path / "encoder.onnx", *shapes, nodes, constants)
    assert tool.main([*inputs, "--out", str(tmp_path / "nuts")]) == 0
    assert "embed.onnx: TensorRT cannot build OneHot" in capsys.readouterr().err
