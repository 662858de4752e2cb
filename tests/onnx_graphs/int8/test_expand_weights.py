"""INT8 weights expanded: the same numbers reach the same convolutions, and no INT8 constant is left."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")

import onnx
from onnx import helper, numpy_helper

from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.int8_conv_graph import int8_conv_graph
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.int8.expand_weights import expand_file, expand_int8_weights
from tests.helpers.onnx_run import run, skip_unless_float16_is_exact
from tests.helpers.tiny_detectors import quantized_detector

INT8, FLOAT = onnx.TensorProto.INT8, onnx.TensorProto.FLOAT
EVERY = np.arange(-128, 128, dtype=np.int8).reshape(4, 16, 4)


def int8_weights(model):
    """INT8 constants that a DequantizeLinear reads."""
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return [
        node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and kinds.get(node.input[0]) == INT8
    ]


def dequantizing(weights, scale, axis=None, zero=None, as_node=False):
    """A network that gives its INT8 constant, dequantized."""
    constants = {"w": weights, "scale": scale, **({} if zero is None else {"zero": zero})}
    options = {} if axis is None else {"axis": axis}
    nodes = [helper.make_node("DequantizeLinear", list(constants), ["out"], **options)]
    if as_node:
        reported = numpy_helper.from_array(constants.pop("w"))
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=reported))
    out = helper.make_tensor_value_info("out", helper.np_dtype_to_tensor_dtype(scale.dtype), weights.shape)
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [], [out], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def scales(count, dtype):
    return np.random.default_rng(count).uniform(1e-4, 0.1, count).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("as_node", [False, True], ids=["initializer", "Constant"])
@pytest.mark.parametrize(
    ("scale", "options"),
    [
        (np.array(0.0123), {}),
        (np.array([0.0123]), {}),
        (scales(4, np.float32), {"axis": 0}),
        (scales(16, np.float32), {"axis": 1}),
        (scales(16, np.float32), {}),
        (scales(4, np.float32), {"axis": -1}),
        (scales(4, np.float32), {"axis": 0, "zero": np.zeros(4, np.int8)}),
        (scales(4, np.float32), {"axis": 0, "zero": np.array([0, 3, -5, 127], np.int8)}),
        (np.array(0.5), {"zero": np.array(-7, np.int8)}),
    ],
)
def test_expand_weights_keeps_every_number(scale, options, as_node, dtype):
    skip_unless_float16_is_exact(dtype)
    model = dequantizing(EVERY, scale.astype(dtype), as_node=as_node, **options)
    expanded = expand_int8_weights(model)
    onnx.checker.check_model(expanded, full_check=True)
    assert [node.op_type for node in expanded.graph.node] == ["QuantizeLinear", "DequantizeLinear"]
    assert int8_weights(expanded) == []
    got, want = run(expanded)["out"], run(model)["out"]
    assert got.dtype == dtype
    assert np.array_equal(got, want)
    # And the INT8 numbers themselves, not only what they stand for.
    del expanded.graph.node[1:], expanded.graph.output[:]
    expanded.graph.output.append(helper.make_tensor_value_info(expanded.graph.node[0].output[0], INT8, EVERY.shape))
    assert np.array_equal(run(expanded)["out/int8"], EVERY)


def test_expand_weights_keeps_a_detectors_outputs(tmp_path: Path):
    path = quantized_detector(tmp_path / "d.onnx")
    model = onnx.load(path)
    before = model.SerializeToString()
    expanded = onnx.load_from_string(expand_file(path))
    assert int8_weights(model) == ["w1", "w2"]
    assert int8_weights(expanded) == []
    assert model.SerializeToString() == before
    assert {"w1", "w2"}.isdisjoint(tensor.name for tensor in expanded.graph.initializer)
    # The activations' pairs are as they were.
    assert sum(node.op_type == "QuantizeLinear" for node in expanded.graph.node) == 2 + 2
    images = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    want, got = run(model, images=images), run(expanded, images=images)
    for name, value in want.items():
        assert np.array_equal(got[name], value), name


def test_expand_weights_of_a_shared_constant():
    model = dequantizing(EVERY, np.float32(0.5))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.25), "half"))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["w", "half"], ["other"]))
    model.graph.output.append(helper.make_tensor_value_info("other", FLOAT, EVERY.shape))
    want, got = run(model), run(expand_int8_weights(model))
    assert not np.array_equal(want["out"], want["other"])
    assert all(np.array_equal(got[name], want[name]) for name in want)


def test_expand_weights_leaves_other_networks():
    once = expand_int8_weights(onnx.load_from_string(int8_conv_graph()))
    assert expand_int8_weights(once).SerializeToString() == once.SerializeToString()


def test_expand_weights_refuses_a_computed_scale():
    model = dequantizing(EVERY, np.float32(0.5))
    model.graph.node.insert(0, helper.make_node("Neg", ["scale"], ["computed"]))
    model.graph.node[1].input[1] = "computed"
    with pytest.raises(BundleError, match=r"^out: wanted a constant scale for INT8 weights"):
        expand_int8_weights(model)


def test_expand_weights_builds_with_tensorrt():
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    graph = expand_int8_weights(onnx.load_from_string(int8_conv_graph())).SerializeToString()
    assert build_engine(rtx, graph, read_recipe("detect")).plan
