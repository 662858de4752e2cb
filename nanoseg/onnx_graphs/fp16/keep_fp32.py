"""Select the nodes that must stay float32: sums, norms, steep functions, numbers beyond float16's range."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_inputs, node_key
from nanoseg.onnx_graphs.model.opset import ONNX_DOMAINS
from nanoseg.onnx_graphs.model.shapes import Dims, shape_of

LARGEST = 65504.0  # largest float16 number
NORMAL = 2.0**-14  # smallest normal float16 number: a smaller epsilon would change, or vanish
# A sum of squares overflows at 256 squared; a sum of many numbers loses the small ones.
SUMS = frozenset({
    "CumSum", "GlobalAveragePool", "GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
NORMS = frozenset({
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "LRN",
    "MeanVarianceNormalization",
})  # fmt: skip
STEEP = frozenset({"Exp", "Log", "Pow", "Reciprocal", "Sqrt"})
ANGLES = frozenset({"Cos", "Sin", "Tan"})
SOFTMAX = frozenset({"LogSoftmax", "Softmax"})
# The mean probability over a longer axis is near the subnormal numbers.
LONG_AXIS = 1024
# Operators inside a norm that is exported as single operators: x - mean, variance + epsilon.
BETWEEN = frozenset({
    "Abs", "Add", "Clip", "Div", "Expand", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Squeeze", "Sub",
    "Transpose", "Unsqueeze",
})  # fmt: skip
# An attribute has their output's type, and float16 has not all integers beyond 2048.
TYPED_BY_ATTRIBUTE = frozenset({"Cast", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike"})
SHAPES = frozenset({"Shape", "Size"})


def keep_fp32(model: onnx.ModelProto, floats: Collection[str], keep: Collection[str]) -> set[str]:
    """Return the keys of the nodes that stay float32.

    Args:
        model: a float32 network.
        floats: names of its float32 tensors.
        keep: keys of nodes that are kept in any case.
    """
    nodes = model.graph.node
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer if w.name in floats}
    shapes = {value.name: shape_of(value) for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    unsafe = {node_key(node) for node in nodes if _is_unsafe(node, weights, shapes)}
    # A norm or Softmax that is one node is whole: what lies between two of them is no part of either.
    ends = {node_key(node) for node in nodes if node.op_type not in NORMS | SOFTMAX} & unsafe
    kept = unsafe | _nodes_between(nodes, ends) | _angle_nodes(nodes) | _shape_nodes(model) | set(keep)
    kept |= {node_key(node) for node in nodes if not fp16_inputs(node, floats, model)}
    return kept | _qdq_at_border(nodes, kept)


def fp16_inputs(node: onnx.NodeProto, floats: Collection[str], model: onnx.ModelProto) -> set[int]:
    """Return the indices of the inputs that become float16 with a node; none where it does not support float16.

    Others, such as the scales of Resize, are float32 in any case.
    """
    schema = _schema(node, model)
    inner_graphs = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    if schema is None or inner_graphs or node.op_type in TYPED_BY_ATTRIBUTE:
        return set()
    variable = _type_variable(schema, node, floats)
    return {i for i, name in enumerate(node.input) if name in floats and _type(schema.inputs, i) == variable}


def fp16_outputs(node: onnx.NodeProto, floats: Collection[str], model: onnx.ModelProto) -> set[int]:
    """Return the indices of the outputs that become float16 with a node."""
    schema = _schema(node, model)
    if schema is None:
        return set()
    variable = _type_variable(schema, node, floats)
    return {i for i, name in enumerate(node.output) if name in floats and _type(schema.outputs, i) == variable}


def _is_unsafe(node: onnx.NodeProto, weights: Mapping[str, np.ndarray], shapes: Mapping[str, Dims]) -> bool:
    if node.op_type in SUMS | NORMS | STEEP:
        return True
    if node.op_type == "Div" and node.input[1] not in weights:  # by a norm, mostly
        return True
    if node.op_type in SOFTMAX:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
        shape = shapes.get(node.input[0], ())
        return not -len(shape) <= axis < len(shape) or (shape[axis] or LONG_AXIS + 1) > LONG_AXIS
    # A scale may be small: the conversion keeps it above 0.
    return node.op_type not in QDQ_OPERATORS and any(
        _is_out_of_range(weights[name]) for name in node.input if name in weights
    )


def _is_out_of_range(constant: np.ndarray) -> bool:
    """Return whether a constant overflows in float16, or is a single number that is subnormal there."""
    magnitude = np.abs(constant[np.isfinite(constant)])
    if not magnitude.size:
        return False
    return bool(magnitude.max() > LARGEST or (constant.size == 1 and 0 < magnitude.max() < NORMAL))


def _nodes_between(nodes: Sequence[onnx.NodeProto], ends: Collection[str]) -> set[str]:
    """Return the keys of the nodes on a path between two of `ends` that has only operators of BETWEEN."""
    reachable: set[str] = set()
    leading: set[str] = set()
    for found, order, read, written in (
        (reachable, nodes, "input", "output"),
        (leading, reversed(nodes), "output", "input"),
    ):
        tensors: set[str] = set()
        for node in order:
            if node_key(node) in ends or (node.op_type in BETWEEN and not tensors.isdisjoint(getattr(node, read))):
                found.add(node_key(node))
                tensors.update(getattr(node, written))
    return reachable & leading


def _angle_nodes(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return the keys of the sines and cosines, and of all that their angles are computed from.

    The position encoding of a decoder's prompts is one: above 512 float16 numbers are half a pixel apart, and an angle
    of many turns loses more than its tenth of a degree.
    """
    found: set[str] = set()
    tensors: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in ANGLES or not tensors.isdisjoint(node.output):
            found.add(node_key(node))
            tensors.update(node_inputs(node))
    return found


def _shape_nodes(model: onnx.ModelProto) -> set[str]:
    """Return the keys of the nodes that compute from constants and shapes alone: once, when an engine is built.

    The DQ of INT8 weights is not among them: it has the type of its reader.
    """
    seen = {value.name for value in model.graph.input}
    found = set()
    for node in model.graph.node:
        if node.op_type in QDQ_OPERATORS or (node.op_type not in SHAPES and not seen.isdisjoint(node_inputs(node))):
            seen.update(node.output)
        else:
            found.add(node_key(node))
    return found


def _qdq_at_border(nodes: Sequence[onnx.NodeProto], kept: Collection[str]) -> set[str]:
    """Return the Q that read float32 tensors and the DQ that only float32 nodes read: they need no Cast."""
    maker = {name: node_key(node) for node in nodes for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in nodes:
        for name in node_inputs(node):
            readers.setdefault(name, []).append(node_key(node))
    border = {node_key(node) for node in nodes if node.op_type == "QuantizeLinear" and maker.get(node.input[0]) in kept}
    for node in nodes:
        read = readers.get(node_key(node))
        if node.op_type == "DequantizeLinear" and read and all(key in kept or key in border for key in read):
            border.add(node_key(node))
    return border


def _schema(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.defs.OpSchema | None:
    """Return ONNX's schema of the operator in the model's opset; None for another domain."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), default=1)
    try:
        return onnx.defs.get_schema(node.op_type, opset, "") if node.domain in ONNX_DOMAINS else None
    except onnx.defs.SchemaError:
        return None


def _type_variable(schema: onnx.defs.OpSchema, node: onnx.NodeProto, floats: Collection[str]) -> str | None:
    """Return the schema's type variable in which a node computes; None where it does not allow float16.

    It is the output's where a float input has it, too, else that of the first float input.
    """
    given = [_type(schema.inputs, index) for index, name in enumerate(node.input) if name in floats]
    output = _type(schema.outputs, 0)
    variable = output if output in given else next(iter(given), None)
    half = (each for each in schema.type_constraints if "tensor(float16)" in each.allowed_type_strs)
    return variable if variable in {each.type_param_str for each in half} else None


def _type(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> str | None:
    """Return a parameter's type or type variable; the last parameter may be variadic."""
    return parameters[min(index, len(parameters) - 1)].type_str if parameters else None
