"""Cut a network down to the outputs that are needed, and rename its tensors."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import onnx

from nanoseg.onnx_graphs.model.nodes import node_inputs


def prune(model: onnx.ModelProto, outputs: Sequence[str], keep: Container[str] = ()) -> None:
    """Reduce a model, in place, to what some of its tensors depend on.

    Args:
        model: the network, which is changed.
        outputs: names of any tensors of the network; they become its outputs.
        keep: names of inputs to keep even where no output depends on them.

    Raises:
        KeyError: the network has no tensor of that name.
    """
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    available = {value.name for values in (graph.input, graph.initializer) for value in values}
    for name in outputs:
        if name not in producers and name not in available:
            raise KeyError(name)
    needed: set[str] = set()
    pending = list(outputs)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += node_inputs(producers[name]) if name in producers else ()
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    if not known.keys() >= set(outputs):
        known |= {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    value_infos = [known.get(name) or onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    _keep(graph.node, (node for node in graph.node if needed.intersection(node.output)))
    _keep(graph.initializer, (weight for weight in graph.initializer if weight.name in needed))
    _keep(graph.input, (value for value in graph.input if value.name in needed or value.name in keep))
    _keep(graph.output, value_infos)


def rename_tensors(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename tensors, in place, wherever they are produced, read or declared."""
    graph = model.graph
    rename_node_tensors(graph.node, names)
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = names.get(value.name, value.name)


def rename_node_tensors(nodes: Sequence[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors, in place, in nodes and their subgraphs alone."""
    for node in nodes:
        for values in (node.input, node.output):
            for i, value in enumerate(values):
                values[i] = names.get(value, value)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                rename_node_tensors(graph.node, names)
                for output in graph.output:
                    output.name = names.get(output.name, output.name)


def _keep(field: Any, values: Iterable[Any]) -> None:
    """Replace the values of a repeated protobuf field."""
    kept = list(values)
    del field[:]
    field.extend(kept)
