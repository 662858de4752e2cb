"""Networks of unusual structure, and networks that cannot be quantized."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.int8.calibrate import Calibrator
from nanoseg.onnx_graphs.int8.qdq import quantized_weight
from nanoseg.onnx_graphs.int8.quantize import quantizable_layers, quantize, tensors_to_calibrate
from tests.helpers.onnx_run import run, run_unfused
from tests.helpers.quantized_graphs import GraphIndex, float_weight
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_residual import pictures, residual_detector


def test_quantize_shared_weights(ranges):
    model = residual_detector()
    two = model.graph.node[5]
    two.CopyFrom(helper.make_node("Conv", ["sum", "one.weight", "two.bias"], ["c2"], pads=[1, 1, 1, 1], name="n2"))
    names = [layer.name for layer in quantizable_layers(model)]
    assert names == ["stem", "one@c1", "one@c2", "head"]
    made = GraphIndex(quantize(model, ranges))
    assert made.by_key("c1").input[1] == made.by_key("c2").input[1]
    kept = GraphIndex(quantize(model, ranges, ["one@c2"]))
    np.testing.assert_array_equal(kept.weights[kept.by_key("c2").input[1]], float_weight(model, "one.weight"))
    np.testing.assert_array_equal(kept.weight("c1"), made.weight("c1"))


def test_quantize_weight_of_conv_and_transposed_conv():
    weight = np.random.default_rng(3).normal(0, 1, (8, 8, 1, 1)).astype(np.float32)
    weight *= np.geomspace(0.01, 1, 8, dtype=np.float32)[:, None, None, None]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["a"]),
            helper.make_node("ConvTranspose", ["a", "w"], ["b"]),
        ],
        "both",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 8, 4, 4))],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, (1, 8, 4, 4))],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = GraphIndex(quantize(model, {"images": 1.0}))
    steps, scales = quantized_weight(weight)
    np.testing.assert_allclose(made.weight("a"), steps * scales[:, None, None, None])
    np.testing.assert_array_equal(made.weight("b"), weight)


def test_quantize_weights_in_constant_nodes(model, ranges):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weight = next(weight for weight in copy.graph.initializer if weight.name == "one.weight")
    copy.graph.initializer.remove(weight)
    copy.graph.node.insert(0, helper.make_node("Constant", [], ["one.weight"], value=weight))
    assert quantizable_layers(copy) == quantizable_layers(model)
    made = quantize(copy, ranges)
    assert not any(node.op_type == "Constant" for node in made.graph.node)
    picture = pictures(1)[0]
    want = run_unfused(quantize(model, ranges), images=picture)
    for name, value in run_unfused(made, images=picture).items():
        np.testing.assert_array_equal(value, want[name])


def test_quantize_keeps_its_argument_and_metadata(model, ranges):
    before = model.SerializeToString()
    made = quantize(model, ranges, ["two", "one"], origin={"method": "minmax", "pictures": 4})
    assert model.SerializeToString() == before
    metadata = {entry.key: entry.value for entry in made.metadata_props}
    assert metadata["architecture"] == "tiny"
    assert json.loads(metadata["quantized"]) == {"method": "minmax", "pictures": 4, "kept": ["one", "two"]}
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 19)]


def test_quantize_quarters_the_file():
    wide = np.random.default_rng(0).normal(0, 1, (512, 8, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 8, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 512, 2, 2))],
        [numpy_helper.from_array(wide, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = quantize(model, {"images": 3.0})
    assert made.ByteSize() < 0.3 * model.ByteSize()
    x = np.random.default_rng(1).uniform(-3, 3, (1, 8, 4, 4)).astype(np.float32)
    want = run(model, images=x)["y"]
    assert np.abs(run(made, images=x)["y"] - want).max() < 0.03 * np.abs(want).max()


@pytest.mark.parametrize(
    "call", [quantize, lambda model, _: Calibrator(model), lambda model, _: tensors_to_calibrate(model)]
)
def test_quantize_refuses_networks_without_layers(call):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["y"])],
        "flat",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 4, 4))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    with pytest.raises(BundleError, match="flat: wanted convolutions to quantize, got none"):
        call(model, {})


@pytest.mark.parametrize(
    "call", [quantize, lambda model, _: Calibrator(model), lambda model, _: tensors_to_calibrate(model)]
)
def test_quantize_refuses_quantized_networks(model, ranges, call, tmp_path):
    elsewhere = onnx.load(quantized_detector(tmp_path / "q.onnx", 19))
    for again in (quantize(model, ranges), elsewhere):
        with pytest.raises(BundleError, match="got one with Q/DQ nodes: it is quantized already"):
            call(again, ranges)


def test_quantize_refuses_a_missing_range(model, ranges):
    missing = {name: amax for name, amax in ranges.items() if name != "sum"}
    for wrong, got in ((missing, "none"), (ranges | {"sum": float("nan")}, "nan"), (ranges | {"sum": -1.0}, "-1")):
        with pytest.raises(BundleError, match=f"tiny: layer two wants a range of 'sum', got {got}"):
            quantize(model, wrong)
    quantize(model, missing, ["two"])  # which needs none then


def test_quantize_refuses_unknown_layers(model, ranges):
    with pytest.raises(UsageError, match=r"keep: wanted names of layers, such as stem, got neck, nose"):
        quantize(model, ranges, ["one", "nose", "neck"])


def test_quantize_refuses_other_opsets(ranges):
    with pytest.raises(BundleError, match="tiny: wanted opset 19, got 17"):
        quantize(residual_detector(17), ranges)


def test_quantize_refuses_other_weights(ranges):
    half = residual_detector(two_weight=np.ones((8, 8, 1, 1), np.float16))
    with pytest.raises(BundleError, match=r"'two.weight' wants float32, got float16; quantize before converting"):
        quantize(half, ranges)
    nan = residual_detector(two_weight=np.full((8, 8, 1, 1), np.nan, np.float32))
    with pytest.raises(BundleError, match=r"'two.weight' holds NaN or infinity"):
        quantize(nan, ranges)
