"""Read a graph as the kernels that a builder like TensorRT makes of it, each with its multiply-adds and bytes.

A kernel is a product (convolution, matrix product) with the elementwise operators behind it, or a chain of elementwise
operators and reductions along the same axes. Views, joined channels, shapes and constants are none. Each kernel
reads its inputs and weights and writes what others read, in the precision that they have in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from nanoseg.benchmark.layer import Layer
from nanoseg.onnx_graphs.cost.tensors import Tensors
from nanoseg.onnx_graphs.model.load import read_model

PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
REDUCTIONS = frozenset(
    {"Softmax", "LayerNormalization", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ArgMax", "TopK"}
)
# What a matrix product has behind it in its kernel; other elementwise operators are kernels of their own there.
EPILOGUES = frozenset({"Add", "Relu", "Cast", "QuantizeLinear"})
FOLDED_BYTES = 1024  # a kernel that moves less, without products, is arithmetic on shapes: builders fold it into others
# Operators that begin a kernel of their own; what follows may join them.
ALONE = frozenset({"Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "TopK", "GatherND", "ScatterND", "NonZero"})
PRECISIONS: Mapping[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT8: "int8"}
TENSOR_CORE_CHANNELS = 4  # of a group; depthwise convolutions have 1


@dataclass
class _Kernel:
    """Nodes that run as one."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    axes: set[tuple[int, ...]] = field(default_factory=set)  # of its reductions


@dataclass(frozen=True)
class GraphCost:
    """What one graph costs."""

    layers: list[Layer]
    output_bytes: int


def read_graph(graph: Path, shapes: Mapping[str, tuple[int, ...]]) -> GraphCost:
    """Return the kernels of a graph, in their order, and the size of its outputs.

    Args:
        graph: the ONNX file.
        shapes: of the inputs with dynamic dims.

    Raises:
        BundleError: it cannot be read, or its shapes cannot be inferred.
        DependencyError: its shapes have to be found by running it, and onnxruntime is not installed.
    """
    return cost_of(read_model(graph), shapes, str(graph))


def cost_of(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], name: str) -> GraphCost:
    """Return the cost of a model, which is changed, as `read_graph` does."""
    tensors = Tensors(model, shapes, name)
    kernels, place = _fuse(tensors)
    readers: dict[str, set[int]] = {}
    for node in tensors.nodes:
        if (at := place.get(node.output[0])) is not None:
            for each in node.input:
                for source in tensors.sources(each):
                    readers.setdefault(source, set()).add(at)
    read_outside = {source for output in tensors.outputs for source in tensors.sources(output)}
    layers = [_layer(tensors, kernel, at, readers, read_outside) for at, kernel in enumerate(kernels)]
    outputs = sum(tensors[each].elements * tensors[each].itemsize for each in tensors.outputs)
    return GraphCost([layer for layer in layers if layer.macs or layer.traffic_bytes >= FOLDED_BYTES], outputs)


def _fuse(tensors: Tensors) -> tuple[list[_Kernel], dict[str, int]]:
    """Return the kernels, and the kernel that makes each tensor."""
    kernels: list[_Kernel] = []
    place: dict[str, int] = {}
    for node in tensors.nodes:
        if tensors.is_on_host(node) or tensors.is_view(node):
            continue
        # The last of the kernels that it reads: all others are done by then.
        before = [place[s] for each in node.input for s in tensors.sources(each) if s in place]
        at = max(before, default=-1)
        axes = _axes(tensors, node)
        if at < 0 or not _joins(node, axes, kernels[at], tensors):
            kernels.append(_Kernel())
            at = len(kernels) - 1
        kernels[at].nodes.append(node)
        kernels[at].axes |= axes
        place.update(dict.fromkeys((each for each in node.output if each), at))
    return kernels, place


def _joins(node: onnx.NodeProto, axes: set[tuple[int, ...]], kernel: _Kernel, tensors: Tensors) -> bool:
    """Return whether a node runs in the kernel before it."""
    if node.op_type in PRODUCTS | ALONE:
        return False
    has_product = any(each.op_type in PRODUCTS for each in kernel.nodes)
    if kernel.nodes[0].op_type in ("MatMul", "Gemm") and node.op_type not in EPILOGUES:
        return False
    if axes:
        return not has_product and kernel.axes <= axes
    if has_product and any(len(tensors.sources(each)) > 1 for each in node.input):
        return False  # of joined tensors the other ones are not at hand
    return not has_product or tensors[node.output[0]].elements <= max(
        tensors[kernel.nodes[0].output[0]].elements, *(tensors[each].elements for each in node.input if each)
    )


def _axes(tensors: Tensors, node: onnx.NodeProto) -> set[tuple[int, ...]]:
    """Return the axes that a node reduces, as a set of one; empty for others."""
    if node.op_type not in REDUCTIONS:
        return set()
    rank = len(tensors[node.input[0]].shape)
    given = next((attribute for attribute in node.attribute if attribute.name in ("axis", "axes")), None)
    values = [-1] if given is None else ([given.i] if given.name == "axis" else list(given.ints))
    return {tuple(sorted(value % rank for value in values))} if rank else {(0,)}


def _layer(
    tensors: Tensors, kernel: _Kernel, at: int, readers: Mapping[str, set[int]], read_outside: set[str]
) -> Layer:
    made = {each for node in kernel.nodes for each in node.output}
    read, weights = dict[str, int](), dict[str, int]()
    for node in kernel.nodes:
        for each in filter(None, node.input):
            for source, nbytes in tensors.reads(each):
                if source not in made:
                    into = weights if source in tensors.constants else read
                    into[source] = max(into.get(source, 0), nbytes)
    written = sum(
        tensors[each].elements * tensors[each].itemsize
        for each in filter(None, made)
        if each in read_outside or readers.get(each, set()) - {at}
    )
    products = [node for node in kernel.nodes if node.op_type in PRODUCTS]
    names = [node.op_type for node in (*products, *(each for each in kernel.nodes if each not in products))]
    return Layer(
        name=f"{products[0].name if products else kernel.nodes[0].name}: {' '.join(dict.fromkeys(names))}",
        precision=_precision(tensors, products[0]) if products else "",
        macs=sum(multiply_adds(tensors, node) for node in products),
        tensor_cores=all(_on_tensor_cores(tensors, node) for node in products),
        read_bytes=sum(read.values()),
        written_bytes=written,
        weight_bytes=sum(weights.values()),
    )


def multiply_adds(tensors: Tensors, node: onnx.NodeProto) -> int:
    """Return the multiply-adds of a convolution, a transposed convolution or a matrix product."""
    values, result = tensors[node.input[0]], tensors[node.output[0]]
    if node.op_type == "Conv":
        return result.elements * math.prod(tensors[node.input[1]].shape[1:])
    if node.op_type == "ConvTranspose":
        return values.elements * math.prod(tensors[node.input[1]].shape[1:])
    transposed = node.op_type == "Gemm" and _attribute(node, "transA", 0)
    return result.elements * values.shape[-2 if transposed else -1]


def _precision(tensors: Tensors, node: onnx.NodeProto) -> str:
    source = tensors.sources(node.input[0])[0]
    return PRECISIONS.get(tensors[source].dtype, "fp32")


def _on_tensor_cores(tensors: Tensors, node: onnx.NodeProto) -> bool:
    groups = _attribute(node, "group", 1)
    return groups == 1 or tensors[node.input[1]].shape[1] >= TENSOR_CORE_CHANNELS


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    found = next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
    return int(found)
