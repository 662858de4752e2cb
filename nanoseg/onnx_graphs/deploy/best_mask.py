"""Choose the best of a decoder's four masks, before they are computed where the network allows it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.model.builder import GraphBuilder

MASKS = 4


def add_best_mask(
    g: GraphBuilder, decoder: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], masks: str, iou: str
) -> None:
    """Append a decoder and the choice of its best mask: `low_res_masks` (N, 1, h, w), `iou_predictions` (N, 1).

    SAM's masks are a product of four rows of weights with the image's pixels, so that choosing the row chooses the
    mask: a quarter of the product and of what follows it. For ten prompts this saves 5 % of the decoder's time and
    7.5 MiB of memory.

    Args:
        g: the graph to append to.
        decoder: the decoder.
        nodes: its nodes, which are changed.
        masks: name of (N, 4, h, w) in the nodes.
        iou: name of (N, 4) in the nodes, the predicted IoU.
    """
    tail = mask_tail(decoder, nodes, masks)
    late = {node.output[0] for node in tail}
    g.nodes += [node for node in nodes if node.output[0] not in late]
    if not tail:
        choose_best(g, masks, iou, name="low_res_masks")
        return
    product, last = tail[0], [node for node in tail if node.op_type == "Reshape"][-1]
    height, width = int64_constants(decoder)[last.input[1]][2:]
    product.input[0] = choose_best(g, product.input[0], iou)
    last.input[1] = g.constant(np.array([-1, 1, height, width], np.int64))
    tail[-1].output[0] = "low_res_masks"
    g.nodes += tail


def choose_best(g: GraphBuilder, values: str, iou: str, name: str | None = None) -> str:
    """Append the choice of each prompt's best mask, with `iou_predictions` (N, 1).

    Args:
        g: the graph to append to.
        values: name of (N, 4, ...).
        iou: name of (N, 4), the predicted IoU.
        name: name of the output; by default a unique one is made.

    Returns:
        The name of (N, 1, ...).
    """
    best = g.add("Unsqueeze", g.add("ArgMax", iou, axis=1, keepdims=1), np.array([2], np.int64))
    g.add("GatherND", iou, best, name="iou_predictions", batch_dims=1)
    return g.add("GatherND", values, best, name=name, batch_dims=1)


def mask_tail(decoder: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], masks: str) -> list[onnx.NodeProto]:
    """Return the nodes weights (N, 4, C) @ pixels (N, C, X) and what is behind it: Reshape, Transpose, a last Cast.

    Only those that keep the first axis count; returns nothing where the decoder ends in another way.
    """
    constants = int64_constants(decoder)
    producers = {output: node for node in nodes for output in node.output}
    readers = Counter(name for node in nodes for name in node.input)
    if readers[masks]:
        return []
    node = producers[masks]
    casts = []
    if node.op_type == "Cast" and node.input[0] in producers and readers[node.input[0]] == 1:  # of a float16 decoder
        casts = [node]
        node = producers[node.input[0]]
    tail = [node]
    while node.op_type in ("Reshape", "Transpose"):
        if node.op_type == "Transpose":
            perm = helper.get_node_attr_value(node, "perm")
            keeps_first = perm[0] == 0
        else:
            shape = constants.get(node.input[1], np.zeros(1))
            # Prompts and masks are joined as (-1, ...), and split again by the last one, to (-1, 4, h, w).
            keeps_first = shape[0] == -1 and bool((shape[1:] > 0).all())
            keeps_first &= (len(shape) == 4 and int(shape[1]) == MASKS) == (len(tail) == 1)
        if not keeps_first or readers[node.input[0]] != 1 or node.input[0] not in producers:
            return []
        node = producers[node.input[0]]
        tail.insert(0, node)
    if node.op_type != "MatMul" or len(tail) == 1 or tail[-1].op_type != "Reshape":
        return []
    graph = onnx.shape_inference.infer_shapes(decoder).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.input)}
    # One row for each mask; the number of prompts does not change, so the product's last axis is a mask's pixels.
    if len(shapes.get(node.input[0], [])) != 3 or shapes[node.input[0]][1] != MASKS:
        return []
    reshapes = [constants[move.input[1]].tolist() for move in tail[1:] if move.op_type == "Reshape"]
    pixels = math.prod(reshapes[-1][2:])
    return [*tail, *casts] if all(math.prod(shape[1:]) == pixels for shape in reshapes[:-1]) else []


def int64_constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the integer constants of a model, by name."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64
    }
