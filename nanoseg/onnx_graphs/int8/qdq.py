"""Puts Q/DQ pairs where TensorRT wants them: on what convolutions read, and on their weights.

One pair a tensor, shared by all that read it, so that a residual Add sees the very numbers that the next convolution
sees and TensorRT keeps the tensor in INT8. A convolution's output gets none of its own: it is quantized after its
activation, which TensorRT fuses into it. Biases stay as they are; TensorRT adds them before it scales.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.model.nodes import CONVOLUTIONS, box_decode_nodes, node_inputs, node_key

# Symmetric, as TensorRT has it: -128 is left out, so that a weight and its negative are equally far off.
LARGEST = 127
# Before the name of the tensor or weight that they belong to. No GraphBuilder has such a prefix.
QUANTIZED, DEQUANTIZED, SCALE = "nanoseg/int8/", "nanoseg/dequantized/", "nanoseg/scale/"
ZERO = "nanoseg/zero_point"
# TensorRT fuses them into the convolution before.
ACTIVATIONS = frozenset({"Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Sigmoid"})


def weights_of(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """All that is constant, by name: initializers and what Constant nodes give."""
    made = {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    return {weight.name: weight for weight in graph.initializer} | made


def scales_of(amax: np.ndarray, half: bool = False) -> np.ndarray:
    """float32 steps of a symmetric INT8 range that reaches `amax`; 1 where that is 0, as a scale must not be.

    With `half` they are float16 numbers, rounded up, so that the largest value still fits.
    """
    scales = np.asarray(amax, np.float32) / np.float32(LARGEST)
    # A subnormal step would make infinities of what is divided by it.
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1), scales)
    if half:
        scales = np.minimum(scales, np.finfo(np.float16).max)
        near = scales.astype(np.float16)
        # The bits of a positive number, plus one, are those of the next.
        bits = near.view(np.uint16) + (near < scales).astype(np.uint16)
        scales = bits.view(np.float16).astype(np.float32)
    return np.asarray(scales)


def quantized_weight(weight: np.ndarray, axis: int, half: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """int8 numbers of the weight's shape, and a float32 scale for each channel along `axis`."""
    others = tuple(at for at in range(weight.ndim) if at != axis)
    scales = scales_of(np.abs(weight).max(axis=others), half)
    steps = np.rint(weight / np.expand_dims(scales, others))
    return np.clip(steps, -LARGEST, LARGEST).astype(np.int8), scales


def insert_qdq(
    graph: onnx.GraphProto, ranges: Mapping[str, float], layers: Collection[str], half: bool = False
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Nodes in running order, and constants, of the network with the convolutions of these keys in INT8.

    `ranges` has the largest value by tensor, of all that they read. Among the constants are some that nothing reads any
    more. The graph is not changed.
    """
    placer = _Placer(graph, ranges, layers, half)
    read = {name for node in placer.nodes for name in node_inputs(node)}
    # A weight may be a Constant node's, which nothing reads any more.
    gone = {name for name, _ in placer.replaced} - read
    nodes = [node for node in placer.nodes if not gone.intersection(node.output)]
    return nodes, [*graph.initializer, *placer.constants]


class _Placer:
    def __init__(
        self, graph: onnx.GraphProto, ranges: Mapping[str, float], layers: Collection[str], half: bool
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = [numpy_helper.from_array(np.array(0, np.int8), ZERO)]
        self._ranges, self._layers, self._half = ranges, layers, half
        self._weights = weights_of(graph)
        self.replaced: dict[tuple[str, int], str] = {}  # weights, by name and axis: what is read instead
        self._paired = {node.input[0] for node in graph.node if node_key(node) in layers}
        self._convolved = {name for node in graph.node if node.op_type in CONVOLUTIONS for name in node.output}
        self._decode = box_decode_nodes(graph.node)
        self._add_pairs(value.name for value in graph.input)
        for node in graph.node:
            self._add(node)
            self._add_pairs(node.output)

    def _add(self, original: onnx.NodeProto) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if node_key(node) in self._layers:
            node.input[1] = self._add_weight(node.input[1], 1 if node.op_type == "ConvTranspose" else 0)
        for at, name in enumerate(node.input):
            if name in self._paired and not self._reads_plain(original, name):
                node.input[at] = DEQUANTIZED + name
        self.nodes.append(node)

    def _reads_plain(self, node: onnx.NodeProto, name: str) -> bool:
        """What stays in float32 reads what is exact; an activation what its convolution gives, to be fused with it."""
        if node.op_type in CONVOLUTIONS:
            return node_key(node) not in self._layers
        return node_key(node) in self._decode or (node.op_type in ACTIVATIONS and name in self._convolved)

    def _add_pairs(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._paired:
                scale = self._constant(SCALE + name, scales_of(np.array(self._ranges[name]), self._half))
                q, dq = QUANTIZED + name, DEQUANTIZED + name
                self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, ZERO], [q], name=q))
                self.nodes.append(helper.make_node("DequantizeLinear", [q, scale, ZERO], [dq], name=dq))

    def _add_weight(self, name: str, axis: int) -> str:
        """The dequantized weight; one that several layers read is stored once."""
        if (name, axis) not in self.replaced:
            own = f"{name}/{axis}" if axis else name
            steps, scales = quantized_weight(numpy_helper.to_array(self._weights[name]), axis, self._half)
            inputs = [self._constant(QUANTIZED + own, steps), self._constant(SCALE + own, scales)]
            dq = self.replaced[name, axis] = DEQUANTIZED + own
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [dq], name=dq, axis=axis))
        return self.replaced[name, axis]

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name
