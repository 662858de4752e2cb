"""segment_boxes_low_rank.onnx: the values of segment_boxes.onnx without an image of each prompt."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.bundle import EMBEDDED_BUNDLE, open_bundle
from nanoseg.onnx_graphs.deploy.low_rank import graph as low_rank
from nanoseg.onnx_graphs.deploy.low_rank.graph import low_rank_graph
from nanoseg.onnx_graphs.deploy.segment_boxes import segment_boxes_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.contract import DECODER, load_network
from nanoseg.onnx_graphs.model.nodes import node_inputs
from tests.helpers.onnx_run import run
from tests.onnx_graphs.deploy.test_segment_boxes import feeds_of, token_decoder


@pytest.fixture
def boxes() -> onnx.ModelProto:
    """segment_boxes of the embedded bundle, with its weights inside."""
    return onnx.load(open_bundle(EMBEDDED_BUNDLE).graphs["segment_boxes"].path)


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in model.graph.initializer if each.name == name)


@pytest.mark.parametrize("prompts", [1, 7])
def test_low_rank_equals_segment_boxes_of_the_embedded_bundle(prompts: int) -> None:
    """Its file, which refers to segment.onnx for the weights that they share."""
    graph = open_bundle(EMBEDDED_BUNDLE).graphs["segment_boxes"]
    assert graph.for_tensorrt is not None
    assert graph.for_tensorrt.external_bytes > 3 * graph.for_tensorrt.bytes
    feeds = feeds_of(onnx.load(graph.path), prompts)
    wanted, got = run(graph.path, **feeds), run(graph.for_tensorrt.path, **feeds)
    np.testing.assert_allclose(got["tile_logits"], wanted["tile_logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(got["iou_predictions"], wanted["iou_predictions"], rtol=0, atol=1e-5)
    assert np.abs(wanted["tile_logits"]).max() > 5


def test_low_rank_equals_segment_boxes_of_random_weights(boxes: onnx.ModelProto) -> None:
    """Gains, shifts and biases as random as matrices: none of them may be left out."""
    rng = np.random.default_rng(3)
    for tensor in boxes.graph.initializer:
        value = numpy_helper.to_array(tensor)
        is_weight = value.dtype == np.float32 and value.size >= 32 and value.shape != (8, 1, 8, 1)  # heads' identity
        if is_weight and "unsqueeze" not in tensor.name:  # the position encoding
            noise = rng.normal(0, 0.4 if value.ndim == 1 else value.std(), value.shape)
            tensor.CopyFrom(numpy_helper.from_array((value + noise).astype(np.float32), tensor.name))
    model = low_rank_graph(boxes)
    assert model is not None
    feeds = feeds_of(boxes, 3)
    wanted, got = run(boxes, **feeds), run(model, **feeds)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-4 * np.abs(value).max())


def test_low_rank_makes_no_image_of_a_prompt(boxes: onnx.ModelProto) -> None:
    """Neither large tensors of N images, nor the position encoding, which is a constant."""
    model = low_rank_graph(boxes)
    assert model is not None
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = [[dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in inferred.value_info]
    assert [1, 1024, 256] in shapes
    assert not [
        shape for shape in shapes if len(shape) == 3 and shape[0] != 1 and shape[1:] in ([1024, 256], [256, 1024])
    ]
    assert any("unsqueeze_3" in each.name for each in boxes.graph.initializer)
    assert not any("unsqueeze_3" in each.name for each in model.graph.initializer)
    assert [value.name for value in model.graph.input] == [value.name for value in boxes.graph.input]
    assert [value.name for value in model.graph.output] == [value.name for value in boxes.graph.output]


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Of another exporter: without the names of parameters."""
    names = {each.name: f"w{index}" for index, each in enumerate(model.graph.initializer)}
    for each in model.graph.initializer:
        each.name = names[each.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return model


def with_other_node(model: onnx.ModelProto) -> onnx.ModelProto:
    """Of another order of products: what is a sum in ours is a difference there."""
    bias = "mask_decoder.transformer.layers.1.cross_attn_image_to_token.v_proj.bias"
    next(node for node in model.graph.node if bias in node.input).op_type = "Sub"
    return model


def with_image_read_twice(model: onnx.ModelProto) -> onnx.ModelProto:
    """Of a predicted IoU that reads the images, too."""
    found = low_rank.find_two_way(model)
    assert found is not None
    output = next(node for node in model.graph.node if "iou_predictions" in node.output)
    output.output[0] = "iou"
    mean = helper.make_node("ReduceMean", [found.second.images, "axes"], ["mean"], keepdims=0)
    model.graph.node.extend([mean, helper.make_node("Add", ["iou", "mean"], ["iou_predictions"])])
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "axes"))
    return model


@pytest.mark.parametrize("change", [renamed, with_other_node, with_image_read_twice, to_fp16])
def test_low_rank_is_left_out_for_other_graphs(
    change: Callable[[onnx.ModelProto], onnx.ModelProto], boxes: onnx.ModelProto
) -> None:
    assert low_rank_graph(change(boxes)) is None


def test_low_rank_is_left_out_for_decoders_made_elsewhere(tmp_path: Path) -> None:
    other = segment_boxes_graph(load_network(token_decoder(tmp_path / "decoder.onnx"), DECODER))
    assert other is not None
    assert low_rank_graph(other) is None


def test_low_rank_is_left_out_for_small_images(boxes: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    assert low_rank_graph(boxes) is not None
    monkeypatch.setattr(low_rank, "_MIN_TOKENS", 1025)
    assert low_rank_graph(boxes) is None


def test_low_rank_leaves_the_graph_as_it_was(boxes: onnx.ModelProto) -> None:
    before = boxes.SerializeToString(deterministic=True)
    model = low_rank_graph(boxes)
    assert model is not None
    assert boxes.SerializeToString(deterministic=True) == before
    made = {output for node in model.graph.node for output in node.output}
    assert {name for node in model.graph.node for name in node_inputs(node) if name} <= made | {
        each.name for each in (*model.graph.initializer, *model.graph.input)
    }
