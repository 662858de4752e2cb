"""Networks of a few nodes, and the types of their tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.fp16.to_fp16 import tensor_types

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SHAPE = (1, 4, 8, 8)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def network(nodes: Sequence[onnx.NodeProto], opset: int = 19, outputs: str = "y", **constants: Any) -> onnx.ModelProto:
    """x (1, 4, 8, 8) -> `outputs`; constants are float32 unless they are arrays of another type."""
    arrays = {name: np.asarray(v, np.float32) if isinstance(v, float | list) else v for name, v in constants.items()}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    )


def some(seed: int = 0, size: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, SHAPE).astype(np.float32)


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def operators_in(model: onnx.ModelProto, dtype: int) -> set[str]:
    """Operators, but for Cast, that make a tensor of this type."""
    types = tensor_types(model)
    return {n.op_type for n in model.graph.node if n.op_type != "Cast" and any(types[o] == dtype for o in n.output)}


def casts(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(n.input[0], n.output[0]) for n in model.graph.node if n.op_type == "Cast"]


CONV = node("Conv", "x w b", "c", pads=[1, 1, 1, 1])
CONV_WEIGHTS = {"w": weights(4, 4, 3, 3), "b": weights(4)}
