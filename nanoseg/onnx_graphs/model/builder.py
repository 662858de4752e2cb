"""Writes ONNX nodes one call at a time: `y = g.add("Relu", x)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError, one_line

OPSET = 19
# What onnx wrote with opset 19: old enough for ONNX Runtime 1.23 and TensorRT 10.3.
IR_VERSION = 9

Value = str | np.ndarray | np.generic
Shape = Sequence[int | str]


class GraphBuilder:
    """Collects nodes and constants; tensors that it names start with `prefix`/, so that no network's can collide."""

    def __init__(self, prefix: str = "nanoseg") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, value: np.ndarray | np.generic) -> str:
        """The name of this constant; equal ones are stored once."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.prefix}/constant_{len(self._known)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def add(self, op: str, *inputs: Value, name: str | None = None, **attributes: Any) -> str:
        """Append a node with one output and return that output's name: `name`, or one of its own."""
        unique = f"{self.prefix}/{op}_{len(self.nodes)}"
        output = name or unique
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(op, names, [output], name=unique, **attributes))
        return output

    def add_top_k(self, values: str, k: int) -> tuple[str, str]:
        """The `k` largest along the last axis, falling; of equal ones the first. Returns (values, int64 indices)."""
        unique = f"{self.prefix}/TopK_{len(self.nodes)}"
        outputs = (unique, f"{unique}_indices")
        inputs = [values, self.constant(np.array([k], np.int64))]
        self.nodes.append(helper.make_node("TopK", inputs, list(outputs), name=unique, axis=-1))
        return outputs


def tensor(name: str, dtype: type[np.generic], shape: Shape) -> onnx.ValueInfoProto:
    """An input or output of a graph; a dimension given as text is dynamic."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))


def build(
    name: str,
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    nodes: Iterable[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto],
) -> onnx.ModelProto:
    """A checked model of opset 19 without constants that no node reads. The nodes must be in running order.

    Raises BundleError where a network in it does not fit together.
    """
    nodes, outputs = list(nodes), list(outputs)
    read = {value for node in nodes for value in inputs_of(node)} | {output.name for output in outputs}
    graph = helper.make_graph(nodes, name, list(inputs), outputs, [c for c in constants if c.name in read])
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nanoseg")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{name}.onnx: the network in it does not fit together: {one_line(error)}") from error
    return model


def inputs_of(node: onnx.NodeProto) -> Iterable[str]:
    """Names of the tensors that a node reads, those that its inner graphs read from around it included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inputs_of(inner)
