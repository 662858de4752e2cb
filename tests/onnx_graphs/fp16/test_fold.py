"""What a network computes from constants alone, stored in their place."""

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from nanoseg.onnx_graphs.fp16 import fold
from nanoseg.onnx_graphs.fp16.fold import fold_constants
from tests.helpers.onnx_run import run
from tests.helpers.small_graphs import FLOAT, network, node, some, weights

GRID = [
    node("Mul", "rows columns", "products"), node("ReduceSum", "products axis", "sum", keepdims=0),
    node("Relu", "sum", "positive"), node("Add", "x positive", "y"), node("Mul", "x sum", "z"),
]  # fmt: skip
TABLES = {"rows": weights(2, 8, 1, seed=2), "columns": weights(2, 1, 8, seed=3), "axis": np.array([0])}


def test_fold_constants_stores_what_other_nodes_read() -> None:
    model = network(GRID, outputs="y z", **TABLES)
    before = run(model, x=some())
    fold_constants(model)
    assert [each.op_type for each in model.graph.node] == ["Add", "Mul"]
    stored = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    assert stored.keys() == {"sum", "positive"}
    np.testing.assert_allclose(stored["sum"], (TABLES["rows"] * TABLES["columns"]).sum(0), rtol=1e-6)
    after = run(model, x=some())
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


def test_fold_constants_leaves_large_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "LIMIT", 63)
    model = network(GRID, outputs="y z", **TABLES)
    fold_constants(model)
    assert [each.op_type for each in model.graph.node] == [each.op_type for each in GRID]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("DequantizeLinear", "i step", "d"), node("Mul", "x d", "y")],  # it has the type of its reader
        [node("RandomUniformLike", "f", "r"), node("Mul", "x r", "y")],
        [node("RandomUniform", "", "r", shape=[1]), node("Mul", "x r", "y")],
        [node("Shape", "x", "s"), node("Cast", "s", "c", to=FLOAT), node("Reshape", "c one", "r"),
         node("ReduceSum", "r", "t"), node("Mul", "x t", "y")],
        [node("Cast", "one", "c", to=TensorProto.INT64), node("Unsqueeze", "x c", "y")],  # no float32
    ],
    ids=["DQ", "random as another", "random", "of a shape", "integers"],
)  # fmt: skip
def test_fold_constants_leaves(nodes: list) -> None:
    model = network(nodes, i=np.array([3], np.int8), step=0.5, f=[1.0], one=np.array([-1]))
    fold_constants(model)
    assert [each.op_type for each in model.graph.node] == [each.op_type for each in nodes]
