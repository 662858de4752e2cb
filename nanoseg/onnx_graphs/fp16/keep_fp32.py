"""Which operators float16 cannot hold: sums, norms, steep functions, numbers beyond its range."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_inputs, node_key
from nanoseg.onnx_graphs.model.opset import ONNX_DOMAINS
from nanoseg.onnx_graphs.model.shapes import Dims, shape_of

LARGEST = 65504.0  # float16 knows no larger number
NORMAL = 2.0**-14  # below it float16 loses digits: an epsilon would be another one, or none
# A sum of squares leaves float16's range at 256 squared; a sum of many loses what is small.
SUMS = frozenset({
    "CumSum", "GlobalAveragePool", "GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
NORMS = frozenset({
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "LRN",
    "MeanVarianceNormalization",
})  # fmt: skip
STEEP = frozenset({"Exp", "Log", "Pow", "Reciprocal", "Sqrt"})
SOFTMAX = frozenset({"LogSoftmax", "Softmax"})
# The mean probability of a longer axis comes near to where float16 loses digits.
LONG_AXIS = 1024
# What may stand between the operators of a norm that is spelled out: x - mean, variance + epsilon.
BETWEEN = frozenset({
    "Abs", "Add", "Clip", "Div", "Expand", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Squeeze", "Sub",
    "Transpose", "Unsqueeze",
})  # fmt: skip
# An attribute says what type they give, and not all integers beyond 2048 are float16's.
TYPED_BY_ATTRIBUTE = frozenset({"Cast", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike"})
SHAPES = frozenset({"Shape", "Size"})


def keep_fp32(model: onnx.ModelProto, floats: Collection[str], keep: Collection[str]) -> set[str]:
    """Keys of the nodes that stay float32: those in `keep`, and those whose numbers float16 could not hold.

    `floats` are the names of the network's float32 tensors.
    """
    nodes = model.graph.node
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer if w.name in floats}
    shapes = {value.name: shape_of(value) for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    unsafe = {node_key(node) for node in nodes if _unsafe(node, weights, shapes)}
    stay = unsafe | _between(nodes, unsafe) | _of_shapes(model) | set(keep)
    stay |= {node_key(node) for node in nodes if not fp16_inputs(node, floats, model)}
    return stay | _at_the_border(nodes, stay)


def fp16_inputs(node: onnx.NodeProto, floats: Collection[str], model: onnx.ModelProto) -> set[int]:
    """Places of the inputs that become float16 with this node; none where the operator knows no float16.

    Others, such as the scales of Resize, are float32 whatever the node computes in.
    """
    schema = _schema(node, model)
    inner_graphs = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    if schema is None or inner_graphs or node.op_type in TYPED_BY_ATTRIBUTE:
        return set()
    variable = _variable(schema, node, floats)
    return {i for i, name in enumerate(node.input) if name in floats and _type(schema.inputs, i) == variable}


def fp16_outputs(node: onnx.NodeProto, floats: Collection[str], model: onnx.ModelProto) -> set[int]:
    """Places of the outputs that become float16 with this node."""
    schema = _schema(node, model)
    if schema is None:
        return set()
    variable = _variable(schema, node, floats)
    return {i for i, name in enumerate(node.output) if name in floats and _type(schema.outputs, i) == variable}


def _unsafe(node: onnx.NodeProto, weights: Mapping[str, np.ndarray], shapes: Mapping[str, Dims]) -> bool:
    if node.op_type in SUMS | NORMS | STEEP:
        return True
    if node.op_type == "Div" and node.input[1] not in weights:  # by a norm, mostly
        return True
    if node.op_type in SOFTMAX:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
        shape = shapes.get(node.input[0], ())
        return not -len(shape) <= axis < len(shape) or (shape[axis] or LONG_AXIS + 1) > LONG_AXIS
    # A scale may be small: whoever halves it sees to it that it stays above 0.
    return node.op_type not in QDQ_OPERATORS and any(_beyond(weights[name]) for name in node.input if name in weights)


def _beyond(constant: np.ndarray) -> bool:
    """Whether float16 makes infinity of a number, or another one of a lone small one."""
    magnitude = np.abs(constant[np.isfinite(constant)])
    if not magnitude.size:
        return False
    return bool(magnitude.max() > LARGEST or (constant.size == 1 and 0 < magnitude.max() < NORMAL))


def _between(nodes: Sequence[onnx.NodeProto], ends: Collection[str]) -> set[str]:
    """Keys of the nodes on a way from one of `ends` to another that leads through operators of BETWEEN alone."""
    behind: set[str] = set()
    before: set[str] = set()
    for found, order, read, made in ((behind, nodes, "input", "output"), (before, reversed(nodes), "output", "input")):
        tensors: set[str] = set()
        for node in order:
            if node_key(node) in ends or (node.op_type in BETWEEN and not tensors.isdisjoint(getattr(node, read))):
                found.add(node_key(node))
                tensors.update(getattr(node, made))
    return behind & before


def _of_shapes(model: onnx.ModelProto) -> set[str]:
    """Keys of the nodes that compute from constants and shapes alone: once, when an engine is built, and exactly.

    Not of those that make weights of INT8: they are read in what their reader computes in.
    """
    seen = {value.name for value in model.graph.input}
    found = set()
    for node in model.graph.node:
        if node.op_type in QDQ_OPERATORS or (node.op_type not in SHAPES and not seen.isdisjoint(node_inputs(node))):
            seen.update(node.output)
        else:
            found.add(node_key(node))
    return found


def _at_the_border(nodes: Sequence[onnx.NodeProto], stay: Collection[str]) -> set[str]:
    """Q whose tensor is made in float32, and DQ that float32 alone reads: no Cast is needed there."""
    maker = {name: node_key(node) for node in nodes for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in nodes:
        for name in node_inputs(node):
            readers.setdefault(name, []).append(node_key(node))
    border = {node_key(node) for node in nodes if node.op_type == "QuantizeLinear" and maker.get(node.input[0]) in stay}
    for node in nodes:
        read = readers.get(node_key(node))
        if node.op_type == "DequantizeLinear" and read and all(key in stay or key in border for key in read):
            border.add(node_key(node))
    return border


def _schema(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.defs.OpSchema | None:
    """How ONNX defines the operator in the model's opset; None for one of another domain."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), default=1)
    try:
        return onnx.defs.get_schema(node.op_type, opset, "") if node.domain in ONNX_DOMAINS else None
    except onnx.defs.SchemaError:
        return None


def _variable(schema: onnx.defs.OpSchema, node: onnx.NodeProto, floats: Collection[str]) -> str | None:
    """The type variable that the node computes in: its output's where a float input has it too, else its first float's.

    None where float16 is no value of it.
    """
    given = [_type(schema.inputs, place) for place, name in enumerate(node.input) if name in floats]
    output = _type(schema.outputs, 0)
    variable = output if output in given else next(iter(given), None)
    half = (each for each in schema.type_constraints if "tensor(float16)" in each.allowed_type_strs)
    return variable if variable in {each.type_param_str for each in half} else None


def _type(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], place: int) -> str | None:
    """A parameter's type or type variable; the last one may stand for many."""
    return parameters[min(place, len(parameters) - 1)].type_str if parameters else None
