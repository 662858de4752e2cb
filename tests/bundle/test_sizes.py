"""A bundle.toml whose entries do not fit each other, or not the graphs beside it: refused when it is opened."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nanoseg.bundle import open_bundle
from nanoseg.bundle.bundle import EMBEDDED_FOLDER
from nanoseg.errors import BundleError
from nanoseg.utils.hashing import sha256_of_file

Edit = Callable[[str], str]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(EMBEDDED_FOLDER / "parts", tmp_path_factory.mktemp("bundles") / "parts"))


def put(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


def swapped(one: str, other: str) -> Edit:
    """Exchange the files of two graphs, with their sums."""

    def edit(text: str) -> str:
        heads = {name: text.index(f"[graphs.{name}]") for name in (one, other)}
        bodies = {name: text[at : text.index("\n\n", at)].partition("\n")[2] for name, at in heads.items()}
        for name, body in ((one, bodies[other]), (other, bodies[one])):
            at = text.index(f"[graphs.{name}]")
            text = f"{text[:at]}[graphs.{name}]\n{body}{text[text.index(chr(10) * 2, at) :]}"
        return text

    return edit


@pytest.mark.parametrize(
    ("edit", "where", "message"),
    [
        (put("rescale_px = 320", "rescale_px = 400"), "bundle.toml", "input.rescale_px: wanted at most input.detector"),
        (put("rescale_px = 320", "rescale_px = 0"), "bundle.toml", "input.rescale_px: Expected `int` >= 1"),
        (put("detector_px = 320", "detector_px = -320"), "bundle.toml", "input.detector_px: Expected `int` >= 1"),
        (put("detector_px = 320", "detector_px = 20000"), "bundle.toml", "input.detector_px: Expected `int` <= 8192"),
        (put("encoder_px = 512", "encoder_px = 20000"), "bundle.toml", "input.encoder_px: Expected `int` <= 8192"),
        (put("detector_px = 320", "detector_px = 640"), "prepare.onnx", "'images' wants 640 where it has 320"),
        (put("encoder_px = 512", "encoder_px = 1024"), "prepare.onnx", "'image' wants 1024 where it has 512"),
        (put("encoder_px = 512", "encoder_px = 500"), "bundle.toml", "input.encoder_px: wanted a multiple of 16"),
        (put("encoder_px = 512", "encoder_px = 512.5"), "bundle.toml", "input.encoder_px: Expected `int`, got `float`"),
        (put("max_detections = ", "max_detections = 1"), "detect.onnx", "as thresholds.max_detections says"),
        (put("confidence = 0.2", "confidence = nan"), "bundle.toml", "thresholds.confidence: "),
        (put("confidence = 0.2", "confidence = -0.1"), "bundle.toml", "thresholds.confidence: Expected `float` >= 0"),
        (put("iou = 0.7", "iou = inf"), "bundle.toml", "thresholds.iou: Expected `float` <= 1.0"),
        (put('precision = "int8"', 'precision = "int4"'), "bundle.toml", "graphs.detect.precision: Invalid enum value"),
        (put('"embed.onnx"', '"../embed.onnx"'), "bundle.toml", "graphs.embed.file: "),
        (put('"embed.onnx"', '"/embed.onnx"'), "bundle.toml", "graphs.embed.file: "),
        (put('"embed.onnx"', '"detect.onnx"'), "bundle.toml", "graphs.embed.file: wanted a file of its own, got that"),
        (put("max_detections = 300", "max_detections = 0"), "bundle.toml", "thresholds.max_detections: "),
        (
            swapped("detect", "embed"),
            "embed.onnx",
            "wanted the input 'images' of detect, got image; bundle.toml or the",
        ),
        (swapped("prepare", "segment"), "segment.onnx", "wanted the input 'frame' of prepare, got image_embeddings"),
    ],
)
def test_sizes_refused(edit: Edit, where: str, message: str, parts: Path) -> None:
    """In one line that names the key and the file."""
    toml = parts / "bundle.toml"
    text = toml.read_text()
    try:
        toml.write_text(edit(text))
        with pytest.raises(BundleError) as error:
            open_bundle(parts)
    finally:
        toml.write_text(text)
    assert str(error.value).startswith(f"{parts / where}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def without_output(model) -> None:
    del model.graph.output[0]


def without_outputs(model) -> None:
    del model.graph.output[:]


def without_unconverged(model) -> None:
    model.graph.output.remove(next(each for each in model.graph.output if each.name == "unconverged"))


def without_iou(model) -> None:
    model.graph.input.remove(next(each for each in model.graph.input if each.name == "iou"))


def other_type(model) -> None:
    model.graph.output[0].type.tensor_type.elem_type = 11  # double


def other_dtype(model) -> None:
    model.graph.output[0].type.tensor_type.elem_type = 7


def other_rank(model) -> None:
    del model.graph.output[0].type.tensor_type.shape.dim[0]


def fewer_rows(model) -> None:
    model.graph.output[1].type.tensor_type.shape.dim[0].dim_value = 100


@pytest.mark.parametrize(
    ("graph", "change", "message"),
    [
        ("detect", without_output, "wanted the output 'boxes' of detect, got scores, class_ids, "),
        ("detect", without_unconverged, "wanted the output 'unconverged' of detect, got boxes, "),
        ("detect", without_iou, "wanted the input 'iou' of detect, got images, "),
        ("embed", without_outputs, "wanted the output 'image_embeddings' of embed, got none; bundle.toml or the file"),
        ("detect", other_type, "an input or output has the ONNX type 11, which is no array's"),
        ("segment", other_dtype, "'low_res_masks' wants float32 of 4 dimensions, got int64 "),
        ("detect", other_rank, "'boxes' wants float32 of 2 dimensions, got float32 (4)"),
        ("detect", fewer_rows, "'scores' wants 300 where it has 100 in (100), as thresholds.max_detections says; "),
        (
            "detect",
            lambda model: model.metadata_props.add(key="classes", value="9"),
            "has 9 classes, but labels names 10",
        ),
    ],
)
def test_graphs_refused(graph: str, change: Callable[..., object], message: str, parts: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
    folder = Path(shutil.copytree(parts, tmp_path / "parts"))
    path, toml = folder / f"{graph}.onnx", folder / "bundle.toml"
    before, size = sha256_of_file(path), path.stat().st_size
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    text = toml.read_text().replace(before, sha256_of_file(path)).replace(str(size), str(path.stat().st_size))
    toml.write_text(text)
    with pytest.raises(BundleError) as error:
        open_bundle(folder)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_sizes_of_the_embedded_bundle_fit(parts: Path) -> None:
    assert open_bundle(parts).detector_px == 320
