"""segment_boxes.onnx: the logits of segment.onnx, at the listed tokens alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.deploy.float32 import emulated_model, float32_model
from nanoseg.onnx_graphs.deploy.segment import segment_graph
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.onnx_graphs.deploy.shared_weights import share_weights
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.contract import DECODER, load_network
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import GRID, decoder, sam_decoder, save

TOKENS = GRID * GRID
GEOMETRY = np.array([7, 7, 7, 7, 0.5, 0.25, 7, 7], np.float32)
# The axes of masks, of (N, row, column, 2, 2, 2, 2): row by row, as SAM has them.
SAM_ORDER = (0, 1, 3, 5, 2, 4, 6)


def token_decoder(path: Path, order: Sequence[int] = SAM_ORDER, read_late: bool = False, unit: float = 1.0) -> Path:
    """A decoder with SAM's end: each token becomes a block of its own, by products, a LayerNorm and a ReLU.

    The image of a prompt is one for all, plus weights of two rows that the prompt gives; `read_late` has the predicted
    IoU read it behind the first product. `order` is that of the axes of the masks; with a small `unit`, which
    multiplies the points, all stays within float16.
    """
    rng = np.random.default_rng(9)
    nodes = [
        helper.make_node("Unsqueeze", ["point_labels", "last"], ["labels"]),
        helper.make_node("Mul", ["point_coords", "unit"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "labels"], ["points"]),
        helper.make_node("ReduceSum", ["points", "middle"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "to_vectors"], ["flat_vectors"]),
        helper.make_node("Reshape", ["flat_vectors", "vectors_shape"], ["vectors"]),
        helper.make_node("MatMul", ["sum", "to_rows"], ["flat_rows"]),
        helper.make_node("Reshape", ["flat_rows", "rows_shape"], ["rows"]),
        helper.make_node("Reshape", ["image_embeddings", "channels_shape"], ["tokens_by_channel"]),
        helper.make_node("Transpose", ["tokens_by_channel"], ["shared"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["shared", "to_weights"], ["weights_of_all"]),
        helper.make_node("Unsqueeze", ["sum", "middle"], ["scale"]),
        helper.make_node("Mul", ["weights_of_all", "scale"], ["weights"]),
        helper.make_node("MatMul", ["weights", "rows"], ["given"]),
        helper.make_node("Add", ["shared", "given"], ["images"]),
        helper.make_node("MatMul", ["images", "first_up"], ["a"]),
        helper.make_node("Reshape", ["a", "two_up"], ["b"]),
        helper.make_node("LayerNormalization", ["b", "gain", "shift"], ["c"], epsilon=1e-6),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "second_up"], ["e"]),
        helper.make_node("Reshape", ["e", "four_up"], ["pixels"]),
        helper.make_node("Transpose", ["pixels"], ["by_channel"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["vectors", "by_channel"], ["product"]),
        helper.make_node("Reshape", ["product", "blocks_shape"], ["blocks"]),
        helper.make_node("Transpose", ["blocks"], ["ordered"], perm=list(order)),
        helper.make_node("Reshape", ["ordered", "masks_shape"], ["low_res_masks"]),
        helper.make_node("ReduceMean", ["a" if read_late else "images", "middle"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "to_iou"], ["iou_predictions"]),
    ]
    constants = {
        "middle": np.array([1]), "last": np.array([2]), "unit": np.float64(unit),
        "to_vectors": rng.normal(0, 0.1, (2, 4 * 32)), "vectors_shape": np.array([-1, 4, 32]),
        "to_rows": rng.normal(0, 0.05, (2, 2 * 256)), "rows_shape": np.array([-1, 2, 256]),
        "channels_shape": np.array([1, 256, TOKENS]), "to_weights": rng.normal(0, 0.1, (256, 2)),
        "first_up": rng.normal(0, 0.1, (256, 4 * 16)), "two_up": np.array([0, -1, 16]),
        "gain": rng.normal(1, 0.1, 16), "shift": rng.normal(0, 0.1, 16),
        "second_up": rng.normal(0, 0.3, (16, 4 * 32)), "four_up": np.array([0, -1, 32]),
        "blocks_shape": np.array([-1, GRID, GRID, 2, 2, 2, 2]), "masks_shape": np.array([-1, 4, 4 * GRID, 4 * GRID]),
        "to_iou": rng.normal(0, 1, (64 if read_late else 256, 4)),
    }  # fmt: skip
    floats = {name: np.asarray(value, np.float32) for name, value in constants.items() if value.dtype == np.float64}
    inputs = {"image_embeddings": (1, 256, GRID, GRID), "point_coords": ("N", "P", 2), "point_labels": ("N", "P")}
    outputs = {"low_res_masks": ("N", 4, 4 * GRID, 4 * GRID), "iou_predictions": ("N", 4)}
    return save(path, inputs, outputs, nodes, constants | floats)


def some_tiles(prompts: int, tokens: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(prompts)
    tile_prompts = rng.permutation(np.arange(prompts + 2) % prompts)
    return {
        "tile_prompts": tile_prompts.astype(np.int32),
        "tile_tokens": rng.integers(0, tokens, (len(tile_prompts), 32)).astype(np.int32),
    }


def feeds_of(model: onnx.ModelProto, prompts: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(prompts)
    (embedding,) = (value for value in model.graph.input if value.name == "image_embeddings")
    shape = [dim.dim_value for dim in embedding.type.tensor_type.shape.dim]
    corners = rng.uniform(0, 400, (prompts, 2, 2)).astype(np.float32)
    return {
        "image_embeddings": rng.normal(size=shape).astype(np.float32),
        "boxes": np.sort(corners, 1).reshape(prompts, 4),
        "geometry": GEOMETRY,
        **some_tiles(prompts, shape[2] ** 2),
    }


def wanted_logits(whole: onnx.ModelProto | Path, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the blocks of segment's masks at the tiles, and the predicted IoU."""
    boxes = feeds["boxes"]
    labels = np.tile(np.array([2, 3], np.float32), (len(boxes), 1))
    same = {name: feeds[name] for name in ("image_embeddings", "geometry")}
    found = run(whole, **same, point_coords=boxes.reshape(-1, 2, 2), point_labels=labels)
    masks = found["low_res_masks"][:, 0]
    grid = masks.shape[-1] // 4
    blocks = masks.reshape(len(masks), grid, 4, grid, 4).swapaxes(2, 3).reshape(len(masks), -1, 4, 4)
    return blocks[feeds["tile_prompts"][:, None], feeds["tile_tokens"]], found["iou_predictions"]


@pytest.mark.parametrize("order", [SAM_ORDER, (0, 1, 5, 3, 2, 6, 4), (0, 1, 4, 6, 2, 3, 5)], ids=str)
@pytest.mark.parametrize("prompts", [1, 5])
def test_segment_boxes_has_the_logits_of_segment(prompts: int, order: tuple[int, ...], tmp_path: Path) -> None:
    """Whatever the order of the 16 within a token's block."""
    loaded = load_network(token_decoder(tmp_path / "decoder.onnx", order), DECODER)
    model = segment_boxes_graph(loaded)
    assert model is not None
    feeds = feeds_of(model, prompts)
    wanted, iou = wanted_logits(segment_graph(loaded), feeds)
    got = run(model, **feeds)
    np.testing.assert_allclose(got["tile_logits"], wanted, atol=1e-5)
    np.testing.assert_allclose(got["iou_predictions"], iou, atol=1e-6)
    assert wanted.std() > 0.1


@pytest.mark.parametrize("order", [SAM_ORDER, (0, 1, 5, 3, 2, 6, 4)], ids=str)
def test_segment_boxes_of_a_float16_decoder(order: tuple[int, ...], tmp_path: Path) -> None:
    """The values of segment in float16, in float32 tensors, and close to the float32 decoder's; as rounded, too."""
    single = load_network(token_decoder(tmp_path / "decoder.onnx", order, unit=5e-3), DECODER)
    onnx.save(to_fp16(single.model), tmp_path / "half.onnx")
    half = load_network(tmp_path / "half.onnx", DECODER)
    model, whole = segment_boxes_graph(half), segment_graph(half)
    assert model is not None
    assert {precision_of(model), precision_of(whole)} == {"fp16"}
    feeds = feeds_of(model, 5)
    exact, exact_iou = wanted_logits(segment_graph(single), feeds)
    for change in (lambda graph: graph, emulated_model):
        got = run(change(model), **feeds)
        wanted, iou = wanted_logits(change(whole), feeds)
        assert {value.dtype for value in got.values()} == {np.dtype(np.float32)}
        np.testing.assert_allclose(got["tile_logits"], wanted, atol=5e-3)
        np.testing.assert_allclose(got["tile_logits"], exact, atol=2e-2 * np.abs(exact).max())
        np.testing.assert_array_equal(got["iou_predictions"], iou)
        np.testing.assert_allclose(iou, exact_iou, rtol=1e-2)
    kept = {node.output[0] for node in model.graph.node}
    assert not kept & {"b", "c", "d", "e", "pixels", "low_res_masks"}  # computed at the tokens alone
    as_float32 = float32_model(model)  # as a CPU runs it
    assert precision_of(as_float32) == "fp32"
    np.testing.assert_allclose(run(as_float32, **feeds)["tile_logits"], exact, atol=2e-2 * np.abs(exact).max())


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6), (0, 3, 1, 5, 2, 4, 6), (0, 2, 3, 5, 1, 4, 6)], ids=str)
def test_segment_boxes_is_left_out_where_a_token_is_no_block(order: tuple[int, ...], tmp_path: Path) -> None:
    assert segment_boxes_graph(load_network(token_decoder(tmp_path / "decoder.onnx", order), DECODER)) is None


@pytest.mark.parametrize("read_late", [False, True])
def test_segment_boxes_computes_rows_at_the_tokens_alone(read_late: bool, tmp_path: Path) -> None:
    """What something else reads as well is made whole: the image that the predicted IoU comes from, or less of it."""
    model = segment_boxes_graph(load_network(token_decoder(tmp_path / "decoder.onnx", read_late=read_late), DECODER))
    assert model is not None
    kept = {node.output[0] for node in model.graph.node}
    assert ("a" in kept) is read_late
    assert "images" in kept
    assert not kept & {"b", "c", "d", "e", "pixels", "low_res_masks"}


def test_segment_boxes_is_left_out_where_masks_are_not_made_by_token(tmp_path: Path) -> None:
    for path in (
        decoder(tmp_path / "a.onnx"),
        decoder(tmp_path / "b.onnx", tail=False),
        sam_decoder(tmp_path / "c.onnx"),
    ):
        loaded = load_network(path, DECODER, ("mask_input", "has_mask_input"))
        assert segment_boxes_graph(loaded) is None, path.name


@pytest.mark.parametrize("prompts", [1, 7])
def test_segment_boxes_of_the_embedded_bundle(prompts: int) -> None:
    folder = EMBEDDED_FOLDER / EMBEDDED_BUNDLE
    path = folder / "segment_boxes.onnx"
    feeds = feeds_of(onnx.load(path), prompts)
    got = run(path, **feeds)
    wanted, iou = wanted_logits(folder / "segment.onnx", feeds)
    np.testing.assert_allclose(got["tile_logits"], wanted, atol=1e-4)
    np.testing.assert_allclose(got["iou_predictions"], iou, atol=1e-6)


def test_share_weights_refers_to_equal_weights_alone(tmp_path: Path) -> None:
    """Those of another value or name stay in the file, and small ones."""
    large, small = np.arange(512, dtype=np.float32), np.arange(3, dtype=np.float32)
    made = {}
    for name, other in (("first", large), ("second", large + 1)):
        weights = {"same": large, "changed": other, "small": small, f"own_of_{name}": large}
        sum_of = [helper.make_node("Concat", list(weights), ["y"], axis=0)]
        graph = helper.make_graph(
            sum_of,
            name,
            [],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1539,))],
            [numpy_helper.from_array(value, key) for key, value in weights.items()],
        )
        made[name] = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(made["first"], tmp_path / "first.onnx")
    share_weights(made["second"], tmp_path / "first.onnx")
    (tmp_path / "second.onnx").write_bytes(made["second"].SerializeToString())
    stored = onnx.load(tmp_path / "second.onnx", load_external_data=False)
    assert [weight.name for weight in stored.graph.initializer if weight.external_data] == ["same"]
    np.testing.assert_array_equal(run(tmp_path / "second.onnx")["y"], np.concatenate([large, large + 1, small, large]))
