"""float16 networks converted to float32."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.fp16.to_fp32 import to_fp32
from nanoseg.onnx_graphs.model.shapes import dtype_of
from tests.helpers.onnx_run import run_unfused
from tests.helpers.qdq_graphs import RNG, network, node, some_x
from tests.helpers.tiny_networks import FLOAT, HALF


def tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """All constants, wherever they stand."""
    yield from graph.initializer
    for one in graph.node:
        for attribute in one.attribute:
            yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)


def half_network() -> onnx.ModelProto:
    """Float16 in constants of all kinds, in an inner graph, in Casts that lead to it and away."""
    branches = {}
    for name, by in (("then_branch", 2.0), ("else_branch", 3.0)):
        value = numpy_helper.from_array(np.array(by, np.float16), "by")
        out = helper.make_tensor_value_info(f"{name}/y", HALF, None)
        inner = [helper.make_node("Mul", ["c", "by"], [f"{name}/y"])]
        branches[name] = helper.make_graph(inner, name, [], [out], [value])
    fill = numpy_helper.from_array(np.array([0.25], np.float16))
    return network(
        [
            node("Cast", "x", "h", to=HALF),
            node("Conv", "h w", "c"),
            helper.make_node("If", ["yes"], ["i"], name="if", **branches),
            node("ConstantOfShape", "four", "k", value=fill),
            node("Add", "i k", "a"),
            node("Cast", "ones", "o", to=HALF),
            node("Add", "a o", "s"),
            helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array(0.1, np.float16))),
            node("Mul", "s n", "p"),
            node("Cast", "p", "y", to=FLOAT),
        ],
        {
            "w": RNG(3).normal(0, 0.3, (4, 4, 1, 1)).astype(np.float16), "yes": np.array(True),
            "four": np.array([1, 4, 1, 1]), "ones": np.ones((1, 4, 1, 1), np.int64),
        },
    )  # fmt: skip


def test_to_fp32_converts_every_tensor() -> None:
    model = half_network()
    x = some_x(model)
    stored = run_unfused(model, x=x)["y"]
    to_fp32(model)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.data_type == HALF for tensor in tensors(model.graph))
    known = onnx.shape_inference.infer_shapes(model).graph
    assert not any(dtype_of(value) == HALF for value in (*known.input, *known.value_info, *known.output))
    # The one that makes floats of whole numbers has still something to do.
    assert [one.input[0] for one in model.graph.node if one.op_type == "Cast"] == ["ones"]
    got = run_unfused(model, x=x)["y"]
    np.testing.assert_allclose(got, stored, rtol=2e-3, atol=2e-3)
    weight = numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == "w"))
    np.testing.assert_array_equal(weight, RNG(3).normal(0, 0.3, (4, 4, 1, 1)).astype(np.float16))
