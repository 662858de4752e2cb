"""Build ONNX graphs one node a call: `y = g.add("Relu", x)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError, one_line
from nanoseg.onnx_graphs.model.nodes import node_inputs

OPSET = 19
# The version that onnx wrote with opset 19: old enough for ONNX Runtime 1.23 and TensorRT 10.3.
IR_VERSION = 9

Value = str | np.ndarray | np.generic
Shape = Sequence[int | str]


class GraphBuilder:
    """Collector of nodes and constants; the names it gives start with `prefix`/, so that they cannot collide."""

    def __init__(self, prefix: str = "nanoseg") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._constant_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Return the name of a constant with this value; equal constants are stored once."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constant_names:
            self._constant_names[key] = f"{self.prefix}/constant_{len(self._constant_names)}"
            self.constants.append(numpy_helper.from_array(array, self._constant_names[key]))
        return self._constant_names[key]

    def add(self, op: str, *inputs: Value, name: str | None = None, **attributes: Any) -> str:
        """Append a node with one output.

        Args:
            op: an operator of ONNX's own domain.
            inputs: names of tensors, or arrays, which become constants.
            name: name of the output; by default a unique one is made.
            attributes: the node's attributes.

        Returns:
            The output's name.
        """
        unique = f"{self.prefix}/{op}_{len(self.nodes)}"
        output = name or unique
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(op, names, [output], name=unique, **attributes))
        return output

    def add_top_k(self, values: str, k: int) -> tuple[str, str]:
        """Append a TopK along the last axis; return the names of its (values, int64 indices), in descending order."""
        unique = f"{self.prefix}/TopK_{len(self.nodes)}"
        outputs = (unique, f"{unique}_indices")
        inputs = [values, self.constant(np.array([k], np.int64))]
        self.nodes.append(helper.make_node("TopK", inputs, list(outputs), name=unique, axis=-1))
        return outputs


def tensor_info(name: str, dtype: type[np.generic], shape: Shape) -> onnx.ValueInfoProto:
    """Return the description of a graph's input or output; a dimension given as text is dynamic."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))


def build_model(
    name: str,
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    nodes: Iterable[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto],
) -> onnx.ModelProto:
    """Return a checked model of opset 19 without unused constants.

    Args:
        name: the graph's name, for messages.
        inputs: the graph's inputs.
        outputs: the graph's outputs.
        nodes: the nodes in topological order.
        constants: initializers; those that no node reads are left out.

    Raises:
        BundleError: onnx's checker or shape inference rejects the model.
    """
    nodes, outputs = list(nodes), list(outputs)
    read = {value for node in nodes for value in node_inputs(node)} | {output.name for output in outputs}
    graph = helper.make_graph(nodes, name, list(inputs), outputs, [c for c in constants if c.name in read])
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nanoseg")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{name}.onnx: the network in it does not fit together: {one_line(error)}") from error
    return model
