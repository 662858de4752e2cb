"""Expand INT8 weights to floats with Q/DQ behind them, for a TensorRT that takes no INT8 constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.nodes import node_inputs


def expand_file(path: Path) -> bytes:
    """Return the content of an ONNX file with its INT8 weights expanded; raises BundleError for other files."""
    content: bytes = expand_int8_weights(read_model(path)).SerializeToString()
    return content


def expand_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with every INT8 constant of a DequantizeLinear as floats with Q/DQ behind them.

    The floats are the dequantized values, so that quantizing them by the same scale returns the same INT8 numbers. They
    have the type of the scale, float32 or float16: four or two times the bytes.
    """
    expanded = onnx.ModelProto()
    expanded.CopyFrom(model)
    graph = expanded.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        tensor = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if tensor is not None and tensor.data_type == onnx.TensorProto.INT8:
            quantize, added = _quantize(node, tensor, constants)
            nodes.append(quantize)
            graph.initializer.extend(added)
            node.input[0] = quantize.output[0]
        nodes.append(node)
    read = {name for node in nodes for name in node_inputs(node)} | {value.name for value in graph.output}
    kept = [node for node in nodes if node.op_type != "Constant" or node.output[0] in read]
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    return expanded


def _quantize(
    node: onnx.NodeProto, tensor: onnx.TensorProto, constants: dict[str, onnx.TensorProto]
) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """Return the QuantizeLinear before a DequantizeLinear of constant weights, and the constants that it needs."""
    parameters = [constants.get(name) for name in node.input[1:] if name]
    if None in parameters:
        raise BundleError(f"{node.output[0]}: wanted a constant scale for INT8 weights, got one that is computed")
    scale, *zeros = (numpy_helper.to_array(each) for each in parameters if each is not None)
    zero = zeros[0] if zeros else np.zeros(scale.shape, np.int8)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    weights = numpy_helper.to_array(tensor)
    shape = [1] * weights.ndim
    if scale.size > 1:
        shape[axis] = -1
    # ONNX's definition of DequantizeLinear along an axis.
    floats = (weights.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape).astype(np.float32)
    name = node.output[0]
    added = [numpy_helper.from_array(floats.astype(scale.dtype), f"{name}/float")]
    inputs = [f"{name}/float", *node.input[1:]]
    if not zeros:  # without a zero point QuantizeLinear gives UINT8
        added.append(numpy_helper.from_array(zero, f"{name}/zero"))
        inputs = [f"{name}/float", node.input[1], f"{name}/zero"]
    expanded = helper.make_node("QuantizeLinear", inputs, [f"{name}/int8"], name=f"{name}/int8")
    expanded.attribute.extend(attribute for attribute in node.attribute if attribute.name == "axis")
    return expanded, added
