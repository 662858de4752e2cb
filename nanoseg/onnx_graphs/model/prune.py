"""Cuts a network down to the tensors that are wanted of it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import onnx

from nanoseg.onnx_graphs.model.builder import inputs_of


def prune(model: onnx.ModelProto, outputs: Sequence[str], keep: Container[str] = ()) -> None:
    """Make `outputs`, any tensors of the network, its outputs; drop nodes, weights and inputs that they do not need.

    Inputs named in `keep` stay all the same. Raises KeyError with the first name that the network does not have.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    given = {value.name for values in (graph.input, graph.initializer) for value in values}
    for name in outputs:
        if name not in makers and name not in given:
            raise KeyError(name)
    needed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += inputs_of(makers[name]) if name in makers else ()
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    if not known.keys() >= set(outputs):
        known |= {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    infos = [known.get(name) or onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    _keep(graph.node, (node for node in graph.node if needed.intersection(node.output)))
    _keep(graph.initializer, (weight for weight in graph.initializer if weight.name in needed))
    _keep(graph.input, (value for value in graph.input if value.name in needed or value.name in keep))
    _keep(graph.output, infos)


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename tensors wherever they are made, read or listed."""
    graph = model.graph
    rename_in_nodes(graph.node, names)
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = names.get(value.name, value.name)


def rename_in_nodes(nodes: Sequence[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """The same in nodes alone, and in their inner graphs."""
    for node in nodes:
        for values in (node.input, node.output):
            for i, value in enumerate(values):
                values[i] = names.get(value, value)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                rename_in_nodes(graph.node, names)
                for output in graph.output:
                    output.name = names.get(output.name, output.name)


def _keep(field: Any, values: Iterable[Any]) -> None:
    """Replace what a repeated field holds by some of it."""
    kept = list(values)
    del field[:]
    field.extend(kept)
