"""Compute what a network computes from constants alone, so that its result can be stored in float16."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_inputs, node_key
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.run import run_model

LIMIT = 1 << 22  # numbers of one result; SAM's position encoding of 64 x 64 cells has a quarter of that
# The DQ of INT8 weights stays, and random numbers are no constants.
EXCLUDED = QDQ_OPERATORS | {"Bernoulli", "Dropout", "Multinomial", "RandomNormalLike", "RandomUniformLike"}


def fold_constants(model: onnx.ModelProto) -> None:
    """Replace the float32 tensors that depend on constants alone by their values, in place.

    TensorRT does not fold all of them, and computes those anew for every image: the sum in SAM's position encoding is
    10 MB of traffic and 8 MB of weights at 64 x 64 cells.

    Args:
        model: a network without Constant nodes.

    Raises:
        BundleError: they cannot be computed.
    """
    graph = model.graph
    constants = {weight.name for weight in graph.initializer}
    computed: dict[str, onnx.NodeProto] = {}
    read: set[str] = {value.name for value in graph.output}
    for node in graph.node:
        inputs = list(filter(None, node_inputs(node)))
        if inputs and constants.issuperset(inputs) and node.op_type not in EXCLUDED:
            constants.update(node.output)
            computed[node_key(node)] = node
        else:
            read.update(inputs)
    floats = {
        value.name
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
        and np.prod([dim.dim_value for dim in value.type.tensor_type.shape.dim]) <= LIMIT
    }
    wanted = sorted(read & computed.keys() & floats)
    if not wanted:
        return
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    prune(alone, wanted)
    values = run_model(alone, {}, graph.name)
    for name in wanted:
        graph.node.remove(computed[name])
        graph.initializer.append(numpy_helper.from_array(values[name], name))
    prune(model, [value.name for value in graph.output], keep=[value.name for value in graph.input])
