"""Topological order of a network's nodes, which some exporters do not keep: onnxruntime's float16 converter is one."""

from __future__ import annotations

import heapq
from collections import defaultdict

import onnx

from nanoseg.onnx_graphs.model.nodes import node_inputs


def sort_nodes(graph: onnx.GraphProto) -> str | None:
    """Sort the nodes of a graph and of its subgraphs, in place; those that are in order keep it.

    Returns:
        The name of a tensor that depends on itself, in which case the graph is not sorted; else None.
    """
    nodes = list(graph.node)
    for node in nodes:
        for attribute in node.attribute:
            # Reading an absent subgraph would create it.
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                if (cyclic := sort_nodes(inner)) is not None:
                    return cyclic
    producers = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    # What a subgraph makes itself may have a name that the graph outside has, too; then one edge is too many.
    before = [{producers[name] for name in node_inputs(node) if name in producers} for node in nodes]
    readers: defaultdict[int, list[int]] = defaultdict(list)
    for at, needed in enumerate(before):
        for producer in needed:
            readers[producer].append(at)
    missing = [len(needed) for needed in before]
    ready = [at for at, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        return str(next(nodes[at].output[0] for at, count in enumerate(missing) if count))
    if order != sorted(order):
        copies = [onnx.NodeProto.FromString(nodes[at].SerializeToString()) for at in order]
        del graph.node[:]
        graph.node.extend(copies)
    return None
