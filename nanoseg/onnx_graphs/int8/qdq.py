"""Q/DQ placement for TensorRT: on the inputs of convolutions (Conv) and on their weights.

Each tensor has one pair, shared by all its readers, so that a residual Add reads the same numbers as the next
convolution and TensorRT keeps the tensor in INT8. A convolution's output has no pair of its own: it is quantized after
its activation, which TensorRT fuses into it. Biases stay as they are; TensorRT adds them before it scales.

Transposed convolutions (ConvTranspose) stay float: TensorRT fuses no pair into them (its issues 1699 and 2597) but runs
Q and DQ beside them, and TensorRT for RTX even dequantizes their weights anew for each frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.model.nodes import CONVOLUTIONS, box_decode_nodes, node_inputs, node_key

# Symmetric, as in TensorRT: -128 is not used, so that a weight and its negative have the same error.
LARGEST = 127
# Prefixes of the name of the tensor or weight. No GraphBuilder has such a prefix.
QUANTIZED, DEQUANTIZED, SCALE = "nanoseg/int8/", "nanoseg/dequantized/", "nanoseg/scale/"
ZERO = "nanoseg/zero_point"
# TensorRT fuses them into the convolution before them.
ACTIVATIONS = frozenset({"Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Sigmoid"})


def constants_of(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Return the constants by name: initializers and the values of Constant nodes."""
    constants = {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    return {weight.name: weight for weight in graph.initializer} | constants


def scales_of(amax: np.ndarray, fp16_scales: bool = False) -> np.ndarray:
    """Return the scales of symmetric INT8 ranges.

    Args:
        amax: the largest magnitudes; a scale is 1 where this is 0.
        fp16_scales: round the scales up to float16 numbers, so that the largest value still fits.

    Returns:
        float32 scales in the shape of `amax`.
    """
    scales = np.asarray(amax, np.float32) / np.float32(LARGEST)
    # Division by a subnormal scale would overflow.
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(1), scales)
    if fp16_scales:
        scales = np.minimum(scales, np.finfo(np.float16).max)
        near = scales.astype(np.float16)
        # The bits of a positive number, plus one, are those of the next.
        bits = near.view(np.uint16) + (near < scales).astype(np.uint16)
        scales = bits.view(np.float16).astype(np.float32)
    return np.asarray(scales)


def quantized_weight(weight: np.ndarray, fp16_scales: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return a Conv's weight as int8, and a float32 scale for each output channel."""
    others = tuple(range(1, weight.ndim))
    scales = scales_of(np.abs(weight).max(axis=others), fp16_scales)
    steps = np.rint(weight / np.expand_dims(scales, others))
    return np.clip(steps, -LARGEST, LARGEST).astype(np.int8), scales


def insert_qdq(
    graph: onnx.GraphProto, ranges: Mapping[str, float], layers: Collection[str], fp16_scales: bool = False
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Insert Q/DQ nodes around convolutions.

    Args:
        graph: a float32 network; it is not changed.
        ranges: the largest magnitude of every tensor that the convolutions read.
        layers: keys of the convolutions that become INT8.
        fp16_scales: use scales that are float16 numbers.

    Returns:
        The nodes in topological order, and the constants, of which some may not be read any more.
    """
    placement = _Placement(graph, ranges, layers, fp16_scales)
    read = {name for node in placement.nodes for name in node_inputs(node)}
    # The weight may be of a Constant node, which is not read any more.
    gone = placement.replaced.keys() - read
    nodes = [node for node in placement.nodes if not gone.intersection(node.output)]
    return nodes, [*graph.initializer, *placement.constants]


class _Placement:
    def __init__(
        self, graph: onnx.GraphProto, ranges: Mapping[str, float], layers: Collection[str], fp16_scales: bool
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = [numpy_helper.from_array(np.array(0, np.int8), ZERO)]
        self._ranges, self._layers, self._fp16_scales = ranges, layers, fp16_scales
        self._weights = constants_of(graph)
        self.replaced: dict[str, str] = {}  # by weight: its dequantized tensor
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
            node.input[1] = self._add_weight(node.input[1])
        for at, name in enumerate(node.input):
            if name in self._paired and not self._reads_float(original, name):
                node.input[at] = DEQUANTIZED + name
        self.nodes.append(node)

    def _reads_float(self, node: onnx.NodeProto, name: str) -> bool:
        """Return whether a node reads the float tensor: float32 nodes do, and activations that are to be fused."""
        if node.op_type in CONVOLUTIONS:
            return node_key(node) not in self._layers
        return node_key(node) in self._decode or (node.op_type in ACTIVATIONS and name in self._convolved)

    def _add_pairs(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._paired:
                scale = self._constant(SCALE + name, scales_of(np.array(self._ranges[name]), self._fp16_scales))
                q, dq = QUANTIZED + name, DEQUANTIZED + name
                self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, ZERO], [q], name=q))
                self.nodes.append(helper.make_node("DequantizeLinear", [q, scale, ZERO], [dq], name=dq))

    def _add_weight(self, name: str) -> str:
        """Return the name of the dequantized weight; one that several layers read is stored once."""
        if name not in self.replaced:
            steps, scales = quantized_weight(numpy_helper.to_array(self._weights[name]), self._fp16_scales)
            inputs = [self._constant(QUANTIZED + name, steps), self._constant(SCALE + name, scales)]
            dq = self.replaced[name] = DEQUANTIZED + name
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [dq], name=dq, axis=0))
        return self.replaced[name]

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name
