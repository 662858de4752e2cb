"""Convert float16 networks to float32, for a CPU, which has few float16 operators."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.model.prune import rename_node_tensors
from nanoseg.onnx_graphs.model.shapes import dtype_of

FP32, FP16 = TensorProto.FLOAT, TensorProto.FLOAT16
# Attributes with an output's type.
TYPES = ("to", "dtype")


def to_fp32(model: onnx.ModelProto) -> None:
    """Convert a network's weights, tensors, inputs and outputs to float32, in place; Casts become unnecessary."""
    _convert_types(model.graph)
    _drop_casts(model)


def inputs_to_fp32(model: onnx.ModelProto) -> None:
    """Give a network float32 inputs instead of float16 ones, in place, with a Cast behind each."""
    graph = model.graph
    fp16_inputs = [value for value in graph.input if dtype_of(value) == FP16]
    names = {value.name: f"{value.name}/half" for value in fp16_inputs}
    rename_node_tensors(graph.node, names)
    casts = [helper.make_node("Cast", [name], [half], name=f"{half}/Cast", to=FP16) for name, half in names.items()]
    for value in fp16_inputs:
        value.type.tensor_type.elem_type = FP32
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _convert_types(graph: onnx.GraphProto) -> None:
    """Convert the types, also in subgraphs."""
    for value in (*graph.input, *graph.output):
        if dtype_of(value) == FP16:
            value.type.tensor_type.elem_type = FP32
    del graph.value_info[:]
    for weight in graph.initializer:
        _convert_tensor(weight)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in TYPES and attribute.i == FP16:
                attribute.i = FP32
            for tensor in (attribute.t, *attribute.tensors):
                _convert_tensor(tensor)
            # Reading an absent subgraph would create it.
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _convert_types(inner)


def _convert_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == FP16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _drop_casts(model: onnx.ModelProto) -> None:
    """Remove Casts from float32 to float32 outside subgraphs."""
    graph = model.graph
    known = onnx.shape_inference.infer_shapes(model).graph
    fp32_tensors = {value.name for value in (*known.input, *known.value_info) if dtype_of(value) == FP32}
    fp32_tensors |= {weight.name for weight in graph.initializer if weight.data_type == FP32}
    outputs = {value.name for value in graph.output}
    replaced_by: dict[str, str] = {}
    kept = []
    for node in graph.node:
        rename_node_tensors([node], replaced_by)
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
        if node.op_type != "Cast" or to != FP32 or node.input[0] not in fp32_tensors:
            kept.append(node)
        elif node.output[0] not in outputs:
            replaced_by[node.output[0]] = node.input[0]
        else:  # a graph output keeps its name
            kept.append(helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name))
    del graph.node[:]
    graph.node.extend(kept)
