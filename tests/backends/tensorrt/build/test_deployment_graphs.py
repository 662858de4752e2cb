"""Every deployment graph, at its real size and in each precision, through TensorRT's parser and builder."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

import nanoseg
from nanoseg.backends.tensorrt.build.engine import BuildResult, build_engine
from nanoseg.engines.recipe import RecipeOverrides, read_recipe
from nanoseg.engines.record import Profile
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import EncoderSpec, read_detector_spec
from nanoseg.onnx_graphs.adapt.encoder import load_encoder
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.low_rank.graph import low_rank_graph
from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
from nanoseg.onnx_graphs.deploy.segment import embed_graph, segment_graph
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.onnx_graphs.model.contract import ENCODER, load_network
from tests.cases.test_foreign_encoders import foreign
from tests.cases.test_second_inputs import with_input
from tests.helpers.end2end_detectors import ULTRALYTICS, one, save_outputs, some_rows
from tests.helpers.full_size import DETECTOR_PX, ENCODER_PX, REDUCED, VARIANTS, FullSize
from tests.helpers.onnx_run import run
from tests.onnx_graphs.deploy.test_segment_boxes import feeds_of

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX, which builds without a GPU, is not installed")
PARTS = Path(nanoseg.__file__).parent / "bundles" / "parts"
GRAPHS = sorted(path.stem for path in PARTS.glob("*.onnx"))
RESCALE_PX, DETECTIONS = 636, 300
FRAMES = {"frame": Profile([1, 120, 160, 3], [1, 720, 1280, 3], [1, 1080, 1920, 3])}


def build(model: onnx.ModelProto, recipe: str, overrides: RecipeOverrides | None = None) -> BuildResult:
    return build_engine(rtx, model.SerializeToString(), read_recipe(recipe, overrides=overrides), name=f"{recipe}.onnx")


@pytest.mark.parametrize("name", GRAPHS)
def test_build_embedded_bundle(name: str) -> None:
    path = PARTS / f"{name}.onnx"
    built = build_engine(rtx, path, read_recipe(name.removesuffix("_low_rank")))
    assert built.plan
    varies = {value.name for value in onnx.load(path).graph.input if _varies(value)}
    assert built.profiles.keys() == varies


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_build_detectors(variant: str, precision: str, full_size_networks: FullSize) -> None:
    detector = load_detector(full_size_networks.detector(variant, precision))
    model = detect_graph(detector, DETECTIONS)
    assert precision_of(model) == precision.split("+")[0]
    built = build(model, "detect")
    assert built.profiles == {}
    # Each weight that is not INT8 takes twice the room or more, so it is seen where the builder widens them again.
    weights = sum(np.prod(tensor.dims) for tensor in model.graph.initializer)
    assert len(built.plan) > weights * (2 if precision == "fp16" else 1)


def test_build_encoder(full_size_networks: FullSize) -> None:
    model = embed_graph(load_network(full_size_networks.encoder("fp16"), ENCODER))
    assert precision_of(model) == "fp16"
    assert build(model, "embed").profiles == {}


@pytest.mark.parametrize("most", [8, 16])
@pytest.mark.parametrize("masks", [False, True], ids=["segment", "segment_mask"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_build_decoders(precision: str, masks: bool, most: int, full_size_networks: FullSize) -> None:
    model = segment_graph(load_decoder(full_size_networks.decoder(masks, precision), masks))
    recipe = "segment_mask" if masks else "segment"
    assert (model.graph.name, precision_of(model)) == (recipe, precision)
    profiles = build(model, recipe, RecipeOverrides(max_prompts=most)).profiles
    assert profiles.keys() == {"point_coords", "point_labels"} | ({"mask_input", "has_mask_input"} if masks else set())
    for name, profile in profiles.items():
        assert (profile.min[0], profile.max[0]) == (1, most), name


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_build_decoder_of_boxes(precision: str, full_size_networks: FullSize) -> None:
    model = segment_boxes_graph(load_decoder(full_size_networks.decoder(precision=precision)))
    assert model is not None
    assert precision_of(model) == precision
    assert build(model, "segment_boxes").profiles.keys() == {"boxes", "tile_prompts", "tile_tokens"}


def test_build_decoder_of_boxes_of_low_rank(full_size_networks: FullSize) -> None:
    """It has the values of the other one, and takes as many boxes."""
    plain = segment_boxes_graph(load_decoder(full_size_networks.decoder()))
    assert plain is not None
    model = low_rank_graph(plain)
    assert model is not None
    profiles = build(model, "segment_boxes").profiles
    assert (profiles["boxes"].min[0], profiles["boxes"].max[0]) == (1, 8)
    feeds = feeds_of(plain, 2)
    wanted, got = run(plain, **feeds), run(model, **feeds)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_build_prepare_for_any_frame_size(kind: type[np.generic]) -> None:
    model = prepare_graph(DETECTOR_PX, RESCALE_PX, ENCODER_PX, images=kind, image=kind)
    assert build(model, "prepare").profiles == FRAMES


def _end2end(folder: Path) -> onnx.ModelProto:
    return detect_graph(load_detector(save_outputs(folder / "d.onnx", one("bsc")(*some_rows(2)), ULTRALYTICS)), 20)


def _constants(folder: Path) -> onnx.ModelProto:
    path, spec = with_input(folder / "d.onnx", "pixel_mask", onnx.TensorProto.INT64, (1, 64, 64)), folder / "s.toml"
    spec.write_text("[constants]\npixel_mask = 1\n")
    return detect_graph(load_detector(path, read_detector_spec(spec)), 20)


def _encoder(folder: Path, layout: Literal["nchw", "hwc"]) -> onnx.ModelProto:
    inside, pixels = (255, "0..255") if layout == "hwc" else (0, "normalised")
    spec = EncoderSpec(layout=layout, pixels=pixels)
    return embed_graph(load_encoder(foreign(folder / "e.onnx", layout=layout, inside=inside), spec))


ADAPTED: dict[str, tuple[str, Callable[[Path], onnx.ModelProto]]] = {
    "end-to-end": ("detect", _end2end),
    "constants": ("detect", _constants),
    "input_image": ("embed", lambda folder: _encoder(folder, "nchw")),
    "input_image with preprocessing": ("embed", lambda folder: _encoder(folder, "hwc")),
}


@pytest.mark.parametrize("name", ADAPTED)
def test_build_networks_of_other_exporters(name: str, tmp_path: Path) -> None:
    recipe, make = ADAPTED[name]
    built = build(make(tmp_path), recipe)
    assert built.plan
    assert built.profiles == {}


def _varies(value: onnx.ValueInfoProto) -> bool:
    return any(not side.HasField("dim_value") for side in value.type.tensor_type.shape.dim)
