"""Shapes and sizes of a graph's tensors, and which of them are constants or share the memory of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.cost.infer import with_all_shapes
from nanoseg.onnx_graphs.model.shapes import dtype_of, set_input_dims, shape_of

# Operators whose output is their first input's memory, read in another shape or order. Matrix products read transposed.
VIEWS = frozenset(
    {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout", "Transpose", "DequantizeLinear"}
)
SLICES = frozenset({"Slice", "Split"})  # views of a part
HOST_ELEMENTS = 64  # integers up to so many are shapes and indices, which TensorRT keeps on the host
INTEGERS = (TensorProto.INT64, TensorProto.INT32)
CHANNELS = 1  # axis of channels in (N, C, H, W)


@dataclass(frozen=True)
class Tensor:
    """One tensor."""

    shape: tuple[int, ...]
    itemsize: int
    dtype: int  # of TensorProto.DataType

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Tensors:
    """The tensors of a graph with fixed input shapes, nodes in topological order."""

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], name: str) -> None:
        """Infer all shapes.

        Args:
            model: the graph, which is changed.
            shapes: of the inputs with dynamic dims.
            name: for messages.

        Raises:
            BundleError: a shape cannot be inferred.
        """
        set_input_dims(model, shapes)
        model = with_all_shapes(model, name)
        graph = model.graph
        self.nodes = list(graph.node)
        self.outputs = {value.name for value in graph.output}
        self._name = name
        self._found: dict[str, Tensor] = {}
        self.constants: set[str] = set()
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = shape_of(value)
            if value.type.HasField("tensor_type") and None not in dims:
                self._add(value.name, tuple(dim for dim in dims if dim is not None), dtype_of(value))
        for constant in graph.initializer:
            self._add(constant.name, tuple(constant.dims), constant.data_type)
            self.constants.add(constant.name)
        for node in self.nodes:
            if all(not each or each in self.constants for each in node.input):
                self.constants.update(node.output)
        self._sources: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            if node.op_type in VIEWS | SLICES or self._is_free_concat(node):
                read = node.input if node.op_type == "Concat" else node.input[:1]
                sources = tuple(source for each in read for source in self.sources(each))
                self._sources.update(dict.fromkeys(node.output, sources))

    def _add(self, name: str, shape: tuple[int, ...], dtype: int) -> None:
        self._found[name] = Tensor(shape, helper.tensor_dtype_to_np_dtype(dtype).itemsize, dtype)

    def _is_free_concat(self, node: onnx.NodeProto) -> bool:
        """Return whether the layers before a Concat write into its output: it joins channels of feature maps."""
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        return node.op_type == "Concat" and axis == CHANNELS and len(self[node.output[0]].shape) == 4

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor; raises BundleError where its shape is not known."""
        if name not in self._found:
            raise BundleError(f"{self._name}: the shape of '{name}' cannot be inferred; give all inputs fixed shapes")
        return self._found[name]

    def is_view(self, node: onnx.NodeProto) -> bool:
        """Return whether a node's outputs are other tensors' memory."""
        return node.output[0] in self._sources

    def is_on_host(self, node: onnx.NodeProto) -> bool:
        """Return whether a node computes constants, shapes or indices."""
        if all(each in self.constants for each in node.output if each):
            return True
        outputs = [self[each] for each in node.output if each]
        return node.op_type == "Shape" or all(t.dtype in INTEGERS and t.elements <= HOST_ELEMENTS for t in outputs)

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the tensors whose memory a tensor is: itself, or those that it is a view of."""
        return self._sources.get(name, (name,))

    def reads(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield the tensors in memory that reading a tensor reads, and the bytes."""
        sources = self.sources(name)
        part = min(1.0, self[name].elements / max(1, sum(self[each].elements for each in sources)))  # of a slice
        for source in sources:
            yield source, round(part * self[source].elements) * self[source].itemsize
