"""Sums of products of constants, written for TensorRT."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.adapt.constant_sums import unroll_constant_sums
from tests.helpers.onnx_run import run


def model_of(shapes, axes=(0,), keepdims=0, constant=True):
    rng = np.random.default_rng(1)
    tables = {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip("ab", shapes, strict=True)}
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["product"]),
        helper.make_node("ReduceSum", ["product", "axes"], ["table"], keepdims=keepdims),
        helper.make_node("Add", ["x", "table"], ["y"]),
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in tables.items()]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1,))]
    if not constant:
        inputs.append(helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, shapes[0]))
        constants = constants[1:]
    constants.append(numpy_helper.from_array(np.array(axes, np.int64), "axes"))
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tables


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_constant_sum_becomes_additions(terms):
    model, _ = model_of([(terms, 5, 1, 8), (terms, 1, 6, 8)])
    feeds = {"x": np.ones(1, np.float32)}
    wanted = run(model, **feeds)["y"]
    unroll_constant_sums(model)
    assert operators(model) == ["Mul", "Mul", "Add"] + ["Mul", "Add"] * (terms - 2) + ["Add"]
    assert {weight.name for weight in model.graph.initializer} == {f"{n}/{i}" for n in "ab" for i in range(terms)}
    np.testing.assert_allclose(run(model, **feeds)["y"], wanted, atol=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        {"axes": (1,)},
        {"axes": (0, 1)},
        {"keepdims": 1},
        {"constant": False},
        {"shapes": [(5, 4), (5, 4)]},
        {"shapes": [(1, 4), (2, 4)]},
        {"shapes": [(4,), (2, 4)]},
    ],
    ids=str,
)
def test_constant_sum_of_another_kind_stays(other):
    model, _ = model_of(**{"shapes": [(2, 4), (2, 4)], **other})
    before = operators(model)
    unroll_constant_sums(model)
    assert operators(model) == before
