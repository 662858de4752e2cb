"""Write sums of constants so that TensorRT computes them when it builds an engine, not for every frame.

nanoseg's decoders compute the position encoding of the image, which no input changes, as the sum over the first axis of
a product of two tables: the file is 4 MB smaller for it at 1024 px. TensorRT for RTX folds products and additions of
constants, but no ReduceSum.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.model.prune import prune

_MOST_TERMS = 4


def unroll_constant_sums(model: onnx.ModelProto) -> None:
    """Write each ReduceSum over the first axis of a product of two constants as additions of products, in place.

    The values are the same to the bit where there are two terms, and up to the order of additions otherwise.
    """
    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        product = producers.get(node.input[0]) if node.op_type == "ReduceSum" else None
        if product is None or product.op_type != "Mul" or not all(name in weights for name in product.input):
            nodes.append(node)
            continue
        first, second = (numpy_helper.to_array(weights[name]) for name in product.input)
        if not _is_over_first_axis(node, weights, first, second):
            nodes.append(node)
            continue
        total = ""
        for index, factors in enumerate(zip(first, second, strict=True)):
            names = [f"{name}/{index}" for name in product.input]
            for name, factor in zip(names, factors, strict=True):
                if name not in weights:
                    weights[name] = numpy_helper.from_array(np.ascontiguousarray(factor), name)
                    graph.initializer.append(weights[name])
            term = f"{product.output[0]}/{index}"
            nodes.append(helper.make_node("Mul", names, [term], name=term))
            if index:
                total, terms = f"{term}/sum" if index < len(first) - 1 else node.output[0], [total, term]
                nodes.append(helper.make_node("Add", terms, [total], name=f"{term}/Add"))
            else:
                total = term
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    prune(model, [output.name for output in graph.output], keep=[value.name for value in graph.input])


def _is_over_first_axis(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], first: np.ndarray, second: np.ndarray
) -> bool:
    if len(node.input) != 2 or node.input[1] not in weights or first.ndim != second.ndim or first.ndim < 2:
        return False
    axes = numpy_helper.to_array(weights[node.input[1]]).ravel().tolist()
    drops_axis = [each.i for each in node.attribute if each.name == "keepdims"] == [0]  # by default it is kept
    return axes == [0] and drops_axis and 2 <= len(first) == len(second) <= _MOST_TERMS
