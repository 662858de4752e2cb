"""Networks of a few nodes with Q/DQ pairs or float16 tensors, `x` (1, c, 6, 6) -> `y`."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.model.shapes import dtype_of
from tests.helpers.tiny_networks import FLOAT

Q, DQ = "QuantizeLinear", "DequantizeLinear"
RNG = np.random.default_rng
SIDE = 6


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"{output}/{op}", **attributes)


def network(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int = 19, dtype: int = FLOAT, c: int = 4
) -> onnx.ModelProto:
    """`x` (1, c, 6, 6) -> `y`, of the same shape."""
    x, y = (helper.make_tensor_value_info(name, dtype, (1, c, SIDE, SIDE)) for name in "xy")
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def some_x(model: onnx.ModelProto, seed: int = 0) -> np.ndarray:
    kind = helper.tensor_dtype_to_np_dtype(dtype_of(model.graph.input[0]))
    return RNG(seed).normal(0, 1, (1, 4, SIDE, SIDE)).astype(kind)


def operators(model: onnx.ModelProto) -> set[str]:
    return {one.op_type for one in model.graph.node}
