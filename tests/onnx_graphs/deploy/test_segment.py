"""embed.onnx and segment.onnx against the networks that they are composed of."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.deploy.segment import embed_graph, segment_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.contract import DECODER, ENCODER, MASK_DECODER, MASK_INPUTS, load_network
from nanoseg.onnx_graphs.model.simplify import UNSUPPORTED_OPERATORS
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import GRID, decoder, encoder, varying_sides

# Only the encoder's scale and nothing else of the geometry may have an influence.
GEOMETRY = np.array([7, 7, 7, 7, 0.5, 0.25, 7, 7], np.float32)
SCALE = GEOMETRY[4:6]


def prompts(n: int, points: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {
        "image_embeddings": rng.normal(size=(1, 256, GRID, GRID)).astype(np.float32),
        "point_coords": rng.uniform(0, 100, (n, points, 2)).astype(np.float32),
        "point_labels": rng.integers(0, 4, (n, points)).astype(np.float32),
    }


def mask_decoder(path: Path, prompts: int | str = "N") -> Path:
    """The tiny decoder with mask prompts: the largest logit of a prompt's mask, if it has one, shifts its points."""
    side = 4 * GRID
    graph = (model := onnx.load(decoder(path, prompts))).graph
    index = next(i for i, node in enumerate(graph.node) if node.output[0] == "sum")
    graph.node[index].output[0] = "sum_of_points"
    shift = [
        helper.make_node("ReduceMax", ["mask_input", "of_a_mask"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "has_mask_input"], ["shift"]),
        helper.make_node("Unsqueeze", ["shift", "middle"], ["shift_of_both"]),
        helper.make_node("Add", ["sum_of_points", "shift_of_both"], ["sum"]),
    ]
    for node in reversed(shift):
        graph.node.insert(index + 1, node)
    graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3]), "of_a_mask"))
    for name, shape in {"mask_input": (prompts, 1, side, side), "has_mask_input": (prompts,)}.items():
        graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    onnx.save(model, path)
    return path


def masks(n: int) -> dict[str, np.ndarray]:
    """Logits of every other prompt."""
    logits = np.random.default_rng(n).normal(0, 9, (n, 1, 4 * GRID, 4 * GRID)).astype(np.float32)
    return {"mask_input": logits, "has_mask_input": (np.arange(n) % 2 == 0).astype(np.float32)}


def in_encoder_px(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**feeds, "point_coords": feeds["point_coords"] * SCALE}


def test_segment_embed_equals_the_encoder(tmp_path: Path) -> None:
    loaded = load_network(encoder(tmp_path / "encoder.onnx"), ENCODER)
    image = np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype(np.float32)
    graph = embed_graph(loaded)
    assert np.array_equal(
        run(graph, image=image)["image_embeddings"], run(loaded.path, image=image)["image_embeddings"]
    )
    assert varying_sides(graph) == {}


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("n", "points"), [(1, 1), (1, 2), (9, 2), (8, 5)])
def test_segment_returns_the_best_mask(n: int, points: int, tail: bool, tmp_path: Path) -> None:
    loaded = load_network(decoder(tmp_path / "decoder.onnx", tail=tail), DECODER)
    feeds = prompts(n, points)
    plain = run(loaded.path, **in_encoder_px(feeds))
    got = run(segment_graph(loaded), **feeds, geometry=GEOMETRY)
    best = plain["iou_predictions"].argmax(1)
    rows = np.arange(n)
    assert np.array_equal(got["iou_predictions"], plain["iou_predictions"][rows, best][:, None])
    assert np.allclose(got["low_res_masks"], plain["low_res_masks"][rows, best][:, None], atol=1e-4)
    assert n == 1 or len(set(best)) > 1  # the case tells the masks apart


@pytest.mark.parametrize("all_masks", [False, True])
def test_segment_of_a_float16_decoder(all_masks: bool, tmp_path: Path) -> None:
    """Inputs and outputs stay float32, and the best mask is chosen before the masks as well."""
    half = to_fp16(load_network(decoder(tmp_path / "decoder.onnx"), DECODER).model)
    onnx.save(half, tmp_path / "half.onnx")
    loaded = load_network(tmp_path / "half.onnx", DECODER)
    graph, feeds = segment_graph(loaded, all_masks), prompts(5)
    assert precision_of(graph) == "fp16"
    plain = run(loaded.path, **in_encoder_px(feeds))
    got = run(graph, **feeds, geometry=GEOMETRY)
    rows, every = np.arange(5)[:, None], np.tile(np.arange(4), (5, 1))
    which = every if all_masks else plain["iou_predictions"].argmax(1)[:, None]
    for name, value in plain.items():
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], value[rows, which], rtol=2e-3, atol=2e-3 * np.abs(value).max())
    product = next(node for node in graph.graph.node if node.output[0] == "product")
    chosen = next(node for node in graph.graph.node if product.input[0] in node.output)
    assert chosen.op_type == ("Reshape" if all_masks else "GatherND")


def test_segment_chooses_before_the_masks(tmp_path: Path) -> None:
    early = segment_graph(load_network(decoder(tmp_path / "a.onnx"), DECODER)).graph.node
    late = segment_graph(load_network(decoder(tmp_path / "b.onnx", tail=False), DECODER)).graph.node
    ends = [next(node.op_type for node in nodes if node.output[0] == "low_res_masks") for nodes in (early, late)]
    assert ends == ["Reshape", "GatherND"]


@pytest.mark.parametrize("all_masks", [False, True])
@pytest.mark.parametrize("n", [1, 7])
def test_segment_passes_mask_prompts(n: int, all_masks: bool, tmp_path: Path) -> None:
    loaded = load_network(mask_decoder(tmp_path / "decoder.onnx"), MASK_DECODER)
    feeds, earlier = prompts(n), masks(n)
    plain = run(loaded.path, **in_encoder_px(feeds), **earlier)
    unmasked = run(loaded.path, **in_encoder_px(feeds), **{**earlier, "has_mask_input": np.zeros(n, np.float32)})
    assert np.abs(plain["iou_predictions"] - unmasked["iou_predictions"])[0].max() > 0.01  # a mask has an influence
    got = run(segment_graph(loaded, all_masks), **feeds, geometry=GEOMETRY, **earlier)
    which = np.tile(np.arange(4), (n, 1)) if all_masks else plain["iou_predictions"].argmax(1)[:, None]
    for name, value in plain.items():
        rows = np.arange(n)[:, None]
        assert np.allclose(got[name], value[rows, which], atol=1e-4)


@pytest.mark.parametrize(("n", "wanted"), [("N", "prompts"), (1, 1)])
def test_segment_inputs_share_the_number_of_prompts(n: int | str, wanted: int | str, tmp_path: Path) -> None:
    graph = segment_graph(load_network(mask_decoder(tmp_path / "decoder.onnx", n), MASK_DECODER))
    assert graph.graph.name == "segment_mask"
    side = 4 * GRID
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "image_embeddings": [1, 256, GRID, GRID],
        "point_coords": [wanted, "points", 2],
        "point_labels": [wanted, "points"],
        "geometry": [8],
        "mask_input": [wanted, 1, side, side],
        "has_mask_input": [wanted],
        "low_res_masks": [wanted, 1, side, side],
        "iou_predictions": [wanted, 1],
    }
    assert next(node.op_type for node in graph.graph.node if node.output[0] == "low_res_masks") == "Reshape"


def test_segment_takes_a_decoder_of_one_mask(tmp_path: Path) -> None:
    """The export of segment-anything's --return-single-mask has one mask a prompt."""
    graph = (model := onnx.load(decoder(tmp_path / "decoder.onnx"))).graph
    for output, name in zip(graph.output, ("low_res_masks", "iou_predictions"), strict=True):
        maker = next(node for node in graph.node if node.output[0] == name)
        maker.output[0] = f"four_{name}"
        graph.node.append(helper.make_node("Gather", [f"four_{name}", "third"], [name], axis=1))
        output.type.tensor_type.shape.dim[1].dim_value = 1
    graph.initializer.append(numpy_helper.from_array(np.array([2]), "third"))
    onnx.save(model, tmp_path / "one.onnx")
    feeds = prompts(3)
    want = run(tmp_path / "decoder.onnx", **in_encoder_px(feeds))
    got = run(segment_graph(load_network(tmp_path / "one.onnx", DECODER)), **feeds, geometry=GEOMETRY)
    for name, value in want.items():
        assert np.allclose(got[name], value[:, 2:3], atol=1e-4)


def test_segment_returns_all_masks(tmp_path: Path) -> None:
    loaded = load_network(decoder(tmp_path / "decoder.onnx"), DECODER)
    feeds = prompts(4)
    got, want = run(segment_graph(loaded, True), **feeds, geometry=GEOMETRY), run(loaded.path, **in_encoder_px(feeds))
    for name, value in want.items():
        assert np.array_equal(got[name], value)


def test_segment_takes_sams_own_decoder(tmp_path: Path) -> None:
    """One prompt a call, an older opset, and SAM's inputs for a mask that is not there."""
    path = decoder(tmp_path / "decoder.onnx", prompts=1, mask_input=True, opset=16)
    loaded = load_network(path, DECODER, MASK_INPUTS)
    graph = segment_graph(loaded)
    assert [value.name for value in graph.graph.input] == [
        "image_embeddings", "point_coords", "point_labels", "geometry",
    ]  # fmt: skip
    assert graph.graph.input[1].type.tensor_type.shape.dim[0].dim_value == 1
    feeds, absent = prompts(1), {"mask_input": np.zeros((1, 1, 16, 16), np.float32)}
    plain = run(path, **in_encoder_px(feeds), **absent, has_mask_input=np.zeros(1, np.float32))
    got = run(graph, **feeds, geometry=GEOMETRY)
    best = int(plain["iou_predictions"].argmax())
    assert np.allclose(got["low_res_masks"][0, 0], plain["low_res_masks"][0, best], atol=1e-4)


@pytest.mark.parametrize(("make", "contract"), [(decoder, DECODER), (mask_decoder, MASK_DECODER)])
def test_segment_has_tensorrts_operators(make, contract, tmp_path: Path) -> None:
    graph = segment_graph(load_network(make(tmp_path / "decoder.onnx"), contract))
    assert not {node.op_type for node in graph.graph.node} & UNSUPPORTED_OPERATORS
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 19)]
    sides = varying_sides(graph)
    assert sides["point_coords"] == ["prompts", "points", ""]
    assert "image_embeddings" not in sides


MASKS = {
    "low_res_masks": (decoder, DECODER),
    "mask_input": (mask_decoder, MASK_DECODER),
}


@pytest.mark.parametrize("named", MASKS)
def test_segment_refuses_masks_of_another_size(named: str, tmp_path: Path) -> None:
    make, contract = MASKS[named]
    path = make(tmp_path / "decoder.onnx")
    graph = (model := onnx.load(path)).graph
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim[2:] if value.name in ("mask_input", "low_res_masks") else ():
            side.dim_value = 17
    next(node for node in graph.node if node.output[0] == "low_res_masks").output[0] = "smaller"
    graph.node.append(helper.make_node("Pad", ["smaller", "by_one"], ["low_res_masks"]))
    graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1]), "by_one"))
    onnx.save(model, path)
    with pytest.raises(BundleError, match=f"decoder.onnx: '{named}' wants sides of 16, four times g, got 17"):
        segment_graph(load_network(path, contract))
