"""Properties of ONNX nodes: their key, their inputs, and whether they belong to the box decode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx

CONVOLUTIONS = ("Conv", "ConvTranspose")
QDQ_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def node_key(node: onnx.NodeProto) -> str:
    """Return a node's first output: unlike its name it is always present, and unique in the graph."""
    key: str = next(name for name in node.output if name)
    return key


def node_inputs(node: onnx.NodeProto) -> Iterable[str]:
    """Yield the names of the tensors that a node reads, including those that its subgraphs read from outside."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from node_inputs(inner)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from all_nodes(inner)


def box_decode_nodes(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return the keys of the nodes on which no convolution depends: a detector's decode of boxes and scores.

    They stay float32 in every precision: above 512, float16 numbers are half a pixel apart.

    Args:
        nodes: a graph's nodes in topological order.
    """
    read_by_convolutions: set[str] = set()
    decode = set()
    for node in reversed(nodes):
        if node.op_type in CONVOLUTIONS or read_by_convolutions.intersection(node.output):
            read_by_convolutions.update(node_inputs(node))
        else:
            decode.add(node_key(node))
    return decode
