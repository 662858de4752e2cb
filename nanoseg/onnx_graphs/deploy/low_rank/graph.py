"""Compose segment_boxes_low_rank.onnx: segment_boxes.onnx as TensorRT computes it with less memory traffic."""

from __future__ import annotations

import numpy as np
import onnx

from nanoseg.onnx_graphs.deploy.low_rank.rows import Rows
from nanoseg.onnx_graphs.deploy.low_rank.transformer import Images, LowRankTransformer
from nanoseg.onnx_graphs.deploy.low_rank.two_way import TwoWay, find_two_way
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.sort import sort_nodes

LOW_RANK = "segment_boxes_low_rank"
# Of an image: at 512 and 1024 px the traffic of 8 boxes is 0.77 and 0.72 of that of segment_boxes and no number of
# boxes moves more, by benchmarks/low_rank.py; at 256 px it saves nothing, and one box moves 1.18 of it.
_MIN_TOKENS = 32 * 32


def low_rank_graph(segment_boxes: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a graph of the same inputs and outputs that makes no image of a prompt; None where that is not possible.

    It is where segment_boxes was composed of a decoder of float32 that nanoseg exported, for images of 512 px or more.
    Of a decoder in float16 it is not: there the two round differently, and what a CPU measures would not be what
    TensorRT runs.
    """
    net = find_two_way(segment_boxes)
    if net is None or len(net.position) < _MIN_TOKENS:
        return None
    model = onnx.ModelProto()
    model.CopyFrom(segment_boxes)
    transformer = LowRankTransformer(net)
    readers = [node for node in model.graph.node if net.second.images in node.input and node.op_type == "Reshape"]
    gathers = [node for node in model.graph.node for rows in readers if rows.output[0] == node.input[0]]
    if len(gathers) != 1 or gathers[0].op_type != "Gather":
        return None
    g = transformer.graph
    names = {**transformer.replaced, gathers[0].output[0]: _of_tiles(g, net, transformer.images, gathers[0].input[1])}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants)
    del model.graph.value_info[:]
    sort_nodes(model.graph)
    prune(model, [output.name for output in model.graph.output])
    onnx.checker.check_model(model, full_check=True)
    if any({net.first.images, net.second.images} & set(node_inputs(node)) for node in model.graph.node):
        return None  # something else reads an image, which is made then
    return model


def _of_tiles(g: Rows, net: TwoWay, images: Images, index: str) -> str:
    """Return the name of the images at the tiles' tokens: (T, 32, C); `index` (T, 32) counts those of all prompts."""
    cells, channels = net.position.shape
    shared = g.add("Gather", g.reshaped(images.shared, cells, channels), "tile_tokens")
    of_each = images.first_factors, images.factors
    first, factors = (g.add("Gather", g.reshaped(name, -1, 1), index) for name in of_each)
    weights = g.add("Gather", g.add("Flatten", images.weights, axis=2), index)
    given = g.product(weights, g.add("Gather", images.values, "tile_prompts"))
    centred = g.times(g.plus(g.times(shared, first), given), factors)
    return g.plus(g.times(centred, net.second.gain), np.asarray(net.second.shift))
