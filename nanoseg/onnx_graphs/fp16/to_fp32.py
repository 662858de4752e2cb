"""Turns a network's float16 tensors into float32: for a CPU, which has few operators for anything else."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.model.prune import rename_node_tensors
from nanoseg.onnx_graphs.model.shapes import dtype_of

SINGLE, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
# Attributes that tell an output's type.
TYPES = ("to", "dtype")


def to_fp32(model: onnx.ModelProto) -> None:
    """Change a network into one of float32 weights, tensors, inputs and outputs.

    Casts that have nothing to do any more are left out.
    """
    _widen(model.graph)
    _drop_casts(model)


def inputs_to_fp32(model: onnx.ModelProto) -> None:
    """Let a network take float32 where it took float16, and cast that itself; the rest stays as it is."""
    graph = model.graph
    halves = [value for value in graph.input if dtype_of(value) == HALF]
    names = {value.name: f"{value.name}/half" for value in halves}
    rename_node_tensors(graph.node, names)
    casts = [helper.make_node("Cast", [name], [half], name=f"{half}/Cast", to=HALF) for name, half in names.items()]
    for value in halves:
        value.type.tensor_type.elem_type = SINGLE
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _widen(graph: onnx.GraphProto) -> None:
    """Types alone, those of inner graphs included."""
    for value in (*graph.input, *graph.output):
        if dtype_of(value) == HALF:
            value.type.tensor_type.elem_type = SINGLE
    del graph.value_info[:]
    for weight in graph.initializer:
        _widen_tensor(weight)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in TYPES and attribute.i == HALF:
                attribute.i = SINGLE
            for tensor in (attribute.t, *attribute.tensors):
                _widen_tensor(tensor)
            # To touch what is not there would bring it into being.
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _widen(inner)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == HALF:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _drop_casts(model: onnx.ModelProto) -> None:
    """Leave out the Casts from float32 to float32 that are in no inner graph."""
    graph = model.graph
    known = onnx.shape_inference.infer_shapes(model).graph
    single = {value.name for value in (*known.input, *known.value_info) if dtype_of(value) == SINGLE}
    single |= {weight.name for weight in graph.initializer if weight.data_type == SINGLE}
    outputs = {value.name for value in graph.output}
    read_as: dict[str, str] = {}
    kept = []
    for node in graph.node:
        rename_node_tensors([node], read_as)
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
        if node.op_type != "Cast" or to != SINGLE or node.input[0] not in single:
            kept.append(node)
        elif node.output[0] not in outputs:
            read_as[node.output[0]] = node.input[0]
        else:  # whoever runs the graph asks for it by this name
            kept.append(helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name))
    del graph.node[:]
    graph.node.extend(kept)
