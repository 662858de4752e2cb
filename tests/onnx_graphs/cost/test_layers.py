"""Kernels, multiply-adds and bytes of small graphs by hand, and of whole networks as published."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.benchmark.layer import work_of
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.cost.layers import cost_of
from nanoseg.onnx_graphs.skeletons.fill import read_skeleton

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
IMAGE = (1, 4, 8, 8)  # 256 numbers


def a_model(nodes, outputs, weights=None, shape=IMAGE, dtype=FLOAT):
    """Return a model of an input x; nodes are (operator, inputs, output, attributes)."""
    made = [helper.make_node(op, read, [out], name=out, **more) for op, read, out, more in nodes]
    constants = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    x = helper.make_tensor_value_info("x", dtype, shape)
    ends = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    graph = helper.make_graph(made, "small", [x], ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def layers(*args, **kwargs):
    return cost_of(a_model(*args, **kwargs), {}, "small").layers


def rows(found):
    """The kernels as (name, multiply-adds, bytes read, written, of weights)."""
    return [(each.name, each.macs, each.read_bytes, each.written_bytes, each.weight_bytes) for each in found]


KERNEL = np.ones((4, 4, 1, 1), np.float32)  # 64 bytes
QDQ = {"kernel": np.ones((4, 4, 1, 1), np.int8), "scale": np.float32(0.5), "zero": np.int8(0)}


def test_a_convolution_takes_what_is_elementwise_behind_it():
    nodes = [
        ("Conv", ["x", "w"], "conv", {}),
        ("Sigmoid", ["conv"], "gate", {}),
        ("Mul", ["conv", "gate"], "silu", {}),
        ("Add", ["silu", "x"], "y", {}),
    ]
    found = layers(nodes, {"y": FLOAT}, {"w": KERNEL})
    assert rows(found) == [("conv: Conv Sigmoid Mul Add", 1024, 1024, 1024, 64)]
    assert (found[0].precision, found[0].tensor_cores) == ("fp32", True)


def test_what_another_kernel_reads_is_written():
    nodes = [
        ("Conv", ["x", "w"], "first", {}),
        ("Relu", ["first"], "a", {}),
        ("Conv", ["a", "w"], "second", {}),
        ("Add", ["second", "a"], "y", {}),
    ]
    found = layers(nodes, {"y": FLOAT}, {"w": KERNEL})
    assert rows(found) == [("first: Conv Relu", 1024, 1024, 1024, 64), ("second: Conv Add", 1024, 1024, 1024, 64)]


def test_int8_tensors_are_a_quarter_and_dequantize_is_no_kernel():
    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], "q", {}),
        ("DequantizeLinear", ["q", "scale", "zero"], "read", {}),
        ("DequantizeLinear", ["kernel", "scale", "zero"], "w", {}),
        ("Conv", ["read", "w"], "conv", {}),
        ("Relu", ["conv"], "relu", {}),
        ("QuantizeLinear", ["relu", "scale", "zero"], "y", {}),
    ]
    quantize, conv = layers(nodes, {"y": TensorProto.INT8}, QDQ)
    assert (quantize.macs, quantize.read_bytes, quantize.written_bytes) == (0, 1024, 256)
    assert (conv.precision, conv.macs, conv.read_bytes, conv.written_bytes) == ("int8", 1024, 256, 256)
    assert 16 <= conv.weight_bytes < 64


def test_views_and_joined_channels_are_no_kernels():
    nodes = [
        ("Conv", ["x", "w"], "a", {}),
        ("Conv", ["x", "w"], "b", {}),
        ("Concat", ["a", "b"], "both", {"axis": 1}),
        ("Slice", ["both", "zero", "three", "one"], "part", {}),
        ("Relu", ["part"], "y", {}),
    ]
    weights = {"w": KERNEL, "zero": np.array([0]), "one": np.array([1]), "three": np.array([3])}
    found = layers(nodes, {"y": FLOAT}, weights)
    assert [each.name for each in found] == ["a: Conv", "b: Conv", "y: Relu"]
    assert (found[-1].read_bytes, found[-1].written_bytes) == (768, 768)


@pytest.mark.parametrize(
    ("nodes", "kernels"),
    [
        ([("Softmax", ["x"], "s", {"axis": -1}), ("Mul", ["s", "s"], "y", {})], 1),
        ([("Softmax", ["x"], "s", {"axis": -1}), ("Softmax", ["s"], "y", {"axis": 1})], 2),
        ([("MatMul", ["x", "x"], "m", {}), ("Relu", ["m"], "y", {})], 1),
        ([("MatMul", ["x", "x"], "m", {}), ("Erf", ["m"], "y", {})], 2),  # products take an Add and a ReLU alone
        ([("MaxPool", ["x"], "p", {"kernel_shape": [2, 2]}), ("Relu", ["p"], "y", {})], 1),
        ([("Relu", ["x"], "r", {}), ("MaxPool", ["r"], "y", {"kernel_shape": [2, 2]})], 2),
    ],
)
def test_which_operators_share_a_kernel(nodes, kernels):
    assert len(layers(nodes, {"y": FLOAT})) == kernels


@pytest.mark.parametrize(
    ("node", "weights", "macs", "tensor_cores"),
    [
        (("Conv", ["x", "w"], "y", {"group": 4}), np.ones((4, 1, 3, 3), np.float32), 4 * 36 * 9, False),
        (("Conv", ["x", "w"], "y", {"strides": [2, 2]}), np.ones((6, 4, 2, 2), np.float32), 6 * 16 * 16, True),
        (("ConvTranspose", ["x", "w"], "y", {"strides": [2, 2]}), np.ones((4, 5, 2, 2), np.float32), 256 * 20, True),
        (("MatMul", ["x", "w"], "y", {}), np.ones((8, 7), np.float32), 32 * 8 * 7, True),
    ],
)
def test_multiply_adds(node, weights, macs, tensor_cores):
    (found,) = layers([node], {"y": FLOAT}, {"w": weights})
    assert (found.macs, found.tensor_cores) == (macs, tensor_cores)


def test_shapes_that_inference_cannot_find_are_found_by_running():
    nodes = [("NonZero", ["x"], "n", {}), ("Cast", ["n"], "f", {"to": FLOAT}), ("Transpose", ["f"], "y", {})]
    with pytest.raises(BundleError, match=r"^small: 'x' wants fixed dimensions to be counted, got dynamic ones$"):
        layers(nodes, {"y": FLOAT}, shape=(None, 4))
    gather = [
        ("Shape", ["x"], "s", {}),
        ("ReduceProd", ["s", "axis"], "p", {}),
        ("Reshape", ["x", "p"], "flat", {}),
        ("Relu", ["flat"], "y", {}),
    ]
    found = cost_of(a_model(gather, {"y": FLOAT}, {"axis": np.array([0])}), {}, "small")
    assert (rows(found.layers), found.output_bytes) == ([("y: Relu", 0, 1024, 1024, 0)], 1024)


# gmacs_640_fused of reference/summary.json.
PUBLISHED = {"yolo_nas_s": 15.898624, "yolo_nas_m": 43.8798336, "yolo_nas_l": 59.9171072}


@pytest.mark.parametrize(("name", "gmacs"), PUBLISHED.items())
def test_multiply_adds_of_whole_networks(name, gmacs):
    work = work_of(cost_of(read_skeleton(name), {}, name).layers)
    assert sum(work.gmacs.values()) == pytest.approx(gmacs, rel=1e-6)
    onnx_nodes = len(read_skeleton(name).graph.node)
    assert 90 < work.kernels < onnx_nodes


def test_half_of_the_bytes_in_float16():
    nodes = [("Conv", ["x", "w"], "c", {}), ("Relu", ["c"], "y", {})]
    (whole,), (half,) = (
        layers(nodes, {"y": dtype}, {"w": KERNEL.astype(numpy)}, dtype=dtype)
        for dtype, numpy in ((FLOAT, np.float32), (HALF, np.float16))
    )
    assert (half.precision, half.macs) == ("fp16", whole.macs)
    assert 2 * half.traffic_bytes == whole.traffic_bytes
