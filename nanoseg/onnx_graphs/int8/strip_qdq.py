"""Takes Q/DQ pairs out of a network: it then computes in floats what it computed in INT8, but for the rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from nanoseg.onnx_graphs.model.builder import GraphBuilder
from nanoseg.onnx_graphs.model.prune import prune, rename_node_tensors

HALF_STEP = 2.0**-10  # between float16 numbers, of their size
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def strip_qdq(model: onnx.ModelProto) -> None:
    """Change a float32 network with Q/DQ nodes into one without, of opset 11 or later.

    Weights become what they were dequantized to. A pair between the layers becomes a Clip: it stops rounding, and goes
    on cutting off what INT8 cannot tell. That is what INT8 mostly costs: on the demo's detector, calibrated at
    percentile 99.99, all of 0.3 points of mAP50-95. And where zero is the least that can be told, exporters leave out a
    Relu. What is no pair with one constant scale, such as INT8 moved around before it is dequantized, stays.
    """
    _Stripped(model).run()


class _Grid(NamedTuple):
    """What the numbers of a quantized tensor mean."""

    scale: np.ndarray  # float32, one number or one an index of `axis`
    zero_point: np.ndarray
    axis: int

    def shaped(self, values: np.ndarray, rank: int) -> np.ndarray:
        """A scale or a zero point, to be broadcast over a tensor of this rank."""
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if at == self.axis % rank else 1 for at in range(rank)])

    def dequantize(self, numbers: np.ndarray) -> np.ndarray:
        """In this order ONNX does it, in float32."""
        zero = self.shaped(self.zero_point, numbers.ndim).astype(np.float32)
        return np.asarray((numbers.astype(np.float32) - zero) * self.shaped(self.scale, numbers.ndim))

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Half to even, and to the nearest end of the range."""
        kind = np.iinfo(self.zero_point.dtype)
        steps = np.rint(values.astype(np.float32) / self.shaped(self.scale, values.ndim))
        numbers = steps + self.shaped(self.zero_point, values.ndim).astype(np.float32)
        return np.asarray(numbers.clip(kind.min, kind.max).astype(kind.dtype))

    @property
    def whole(self) -> bool:
        """Whether its numbers are of a type that numpy has."""
        return bool(np.issubdtype(self.zero_point.dtype, np.integer))

    def same(self, other: _Grid) -> bool:
        """Whether the numbers of one mean the same on the other, but for a scale that one of them has in float16."""
        return (
            self.scale.size == other.scale.size
            and np.allclose(self.scale.ravel(), other.scale.ravel(), rtol=HALF_STEP, atol=0)
            and self.zero_point.dtype == other.zero_point.dtype
            and np.array_equal(self.zero_point.ravel(), other.zero_point.ravel())
            and (self.scale.size == 1 or self.axis == other.axis)
        )


class _Stripped:
    """The work on one network."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model, self._graph = model, model.graph
        given = {value.name for value in self._graph.input}
        self._weights: dict[str, onnx.TensorProto] = {
            weight.name: weight for weight in self._graph.initializer if weight.name not in given
        }
        self._quantizers: dict[str, onnx.NodeProto] = {}  # by their output
        self._clipped: dict[str, str] = {}
        self._g = GraphBuilder("nanoseg/stripped")

    def run(self) -> None:
        graph, read_as = self._graph, dict[str, str]()
        outputs = {value.name for value in graph.output}
        for node in graph.node:
            rename_node_tensors([node], read_as)
            if node.op_type == QUANTIZE:
                self._quantizers[node.output[0]] = node
            elif node.op_type == "Constant" and node.attribute[0].name == "value":
                self._weights[node.output[0]] = node.attribute[0].t
            result = self._floats(node) if node.op_type == DEQUANTIZE else None
            if result is None:
                self._g.nodes.append(node)
            elif isinstance(result, np.ndarray):
                graph.initializer.append(numpy_helper.from_array(result, node.output[0]))
                self._weights[node.output[0]] = graph.initializer[-1]
            elif node.output[0] in outputs:
                self._g.add("Identity", result, name=node.output[0])
            else:
                read_as[node.output[0]] = result
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._g.nodes)
        graph.initializer.extend(self._g.constants)
        given = [value.name for value in graph.input]
        prune(self._model, [value.name for value in graph.output], keep=given)

    def _floats(self, node: onnx.NodeProto) -> np.ndarray | str | None:
        """What a DequantizeLinear gives: numbers, or the tensor that was quantized before it; None where it stays."""
        numbers = self._constant(node.input[0])
        if numbers is not None:
            grid = self._grid(node, numbers.dtype)
            return None if grid is None else grid.dequantize(numbers)
        before = self._quantizers.get(node.input[0])
        pair = None if before is None else self._grid(before, np.dtype(np.uint8))  # ONNX's own where none is told
        if before is None or pair is None or not pair.whole:
            return None
        grid = self._grid(node, pair.zero_point.dtype)
        if grid is None or not pair.same(grid):
            return None
        values = self._constant(before.input[0])
        if values is not None:
            return grid.dequantize(pair.quantize(values))
        return self._clip(before, pair) if pair.scale.size == 1 else None

    def _clip(self, node: onnx.NodeProto, grid: _Grid) -> str:
        """The quantizer's input, held within what it could tell."""
        if node.output[0] not in self._clipped:
            kind = np.iinfo(grid.zero_point.dtype)
            low, high = grid.dequantize(np.array([kind.min, kind.max], kind.dtype))
            self._clipped[node.output[0]] = self._g.add("Clip", node.input[0], low, high)
        return self._clipped[node.output[0]]

    def _grid(self, node: onnx.NodeProto, kind: np.dtype) -> _Grid | None:
        """What a Q or DQ node says of numbers, which are of this `kind`; None where only a run could tell."""
        attributes: Mapping[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
        told = len(node.input) > 2 and bool(node.input[2])
        scale, zero = self._constant(node.input[1]), self._constant(node.input[2]) if told else np.zeros(1, kind)
        if scale is None or zero is None or attributes.get("block_size"):
            return None
        if zero.size == 1:
            zero = np.broadcast_to(zero.reshape(()), scale.shape)
        return _Grid(scale.astype(np.float32), zero, attributes.get("axis", 1))

    def _constant(self, name: str) -> np.ndarray | None:
        return numpy_helper.to_array(self._weights[name]) if name in self._weights else None
