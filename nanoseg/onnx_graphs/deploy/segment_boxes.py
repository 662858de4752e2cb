"""Compose segment_boxes.onnx: the mask decoder for boxes, whose masks are computed only at the tokens that are listed.

After its attention a decoder of SAM turns each image token, a cell of the embedding, into a block of 4 x 4 logits of
its own: transposed convolutions of stride 2, a LayerNorm, GELUs, and a product with the mask's vector. The mask of a
detection is cut at its box, so that the tokens under the box are enough, and their logits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from nanoseg.onnx_graphs.deploy.best_mask import choose_best, int64_constants, mask_tail
from nanoseg.onnx_graphs.deploy.token_rows import TokenRows
from nanoseg.onnx_graphs.model.builder import GraphBuilder, build_model, tensor_info
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.processing.tiles import BLOCK, TILE_TOKENS
from nanoseg.types import BOTTOM_RIGHT, TOP_LEFT


def segment_boxes_graph(decoder: SourceNetwork) -> onnx.ModelProto | None:
    """Compose the graph of a checked decoder; None for a decoder whose masks are not made token by token.

    Inputs: `image_embeddings` (1, 256, g, g) and `boxes` (N, 4), xyxy in pixels of the frame, and `geometry` (8,),
    float32; `tile_prompts` (T,) and `tile_tokens` (T, 32), int32: each tile lists 32 tokens of one prompt, row by row
    of the embedding, 0 to g * g - 1. N and T are dynamic.

    Outputs, float32: `tile_logits` (T, 32, 4, 4), of the mask with the highest predicted IoU at these tokens, and
    `iou_predictions` (N, 1), that IoU.
    """
    names = {
        "low_res_masks": "nanoseg/all_masks",
        "iou_predictions": "nanoseg/all_iou",
        "point_coords": "nanoseg/points",
        "point_labels": "nanoseg/labels",
    }
    grid = decoder.dims["g"]
    takes_masks = "mask_input" in {value.name for value in decoder.model.graph.input}
    if "N" in decoder.dims or takes_masks or decoder.dims.get("m", BLOCK * grid) != BLOCK * grid:
        return None
    nodes = decoder.renamed(names)
    tail = mask_tail(decoder.model, nodes, names["low_res_masks"])
    order = _block_order(decoder.model, tail, grid) if tail else None
    if order is None:
        return None
    product = tail[0]
    columns = next((node for node in nodes if product.input[1] in node.output), product)
    if columns.op_type != "Transpose" or helper.get_node_attr_value(columns, "perm") != [0, 2, 1]:
        return None
    late = {node.output[0] for node in tail}
    g = GraphBuilder()
    scale = g.add("Gather", "geometry", np.array([4, 5, 4, 5], np.int64))
    corners = g.add("Mul", "boxes", scale)
    g.add("Reshape", corners, np.array([-1, 2, 2], np.int64), name=names["point_coords"])
    prompts = g.add("Slice", g.add("Shape", "boxes"), np.array([0], np.int64), np.array([1], np.int64))
    labels = np.array([[TOP_LEFT, BOTTOM_RIGHT]], np.float32)
    g.add("Expand", labels, g.add("Concat", prompts, np.array([2], np.int64), axis=0), name=names["point_labels"])
    g.nodes += [node for node in nodes if node.output[0] not in late]
    vectors = choose_best(g, product.input[0], names["iou_predictions"])
    # The product's other operand has a column for each pixel: the rows before its Transpose are wanted.
    pixels = TokenRows(g, decoder.model, nodes, grid * grid, product).of_tiles(columns.input[0])
    chosen = g.add("Gather", g.add("Transpose", vectors, perm=[0, 2, 1]), "tile_prompts")
    logits = g.add("MatMul", pixels, chosen)
    logits = g.add("Reshape", logits, np.array([-1, TILE_TOKENS, BLOCK * BLOCK], np.int64))
    if (order != np.arange(len(order))).any():
        logits = g.add("Gather", logits, order, axis=2)
    if tail[-1].op_type == "Cast":  # a decoder in float16
        logits = g.add("Cast", logits, to=onnx.TensorProto.FLOAT)
    g.add("Reshape", logits, np.array([-1, TILE_TOKENS, BLOCK, BLOCK], np.int64), name="tile_logits")
    model = build_model(
        "segment_boxes",
        [
            tensor_info("image_embeddings", np.float32, (1, 256, grid, grid)),
            tensor_info("boxes", np.float32, ("prompts", 4)),
            tensor_info("geometry", np.float32, (8,)),
            tensor_info("tile_prompts", np.int32, ("tiles",)),
            tensor_info("tile_tokens", np.int32, ("tiles", TILE_TOKENS)),
        ],
        [
            tensor_info("tile_logits", np.float32, ("tiles", TILE_TOKENS, BLOCK, BLOCK)),
            tensor_info("iou_predictions", np.float32, ("prompts", 1)),
        ],
        g.nodes,
        [*decoder.model.graph.initializer, *g.constants],
    )
    prune(model, [output.name for output in model.graph.output])
    return model


def _block_order(decoder: onnx.ModelProto, tail: Sequence[onnx.NodeProto], grid: int) -> np.ndarray | None:
    """Return where the 16 logits of a token, row by row of its block, lie among the 16 that the product gives for it.

    None where a decoder orders its pixels otherwise than token after token.
    """
    constants = int64_constants(decoder)
    pixels = BLOCK * BLOCK * grid * grid
    place: np.ndarray = np.arange(4 * pixels).reshape(1, 4, pixels)
    for node in tail[1:]:
        if node.op_type == "Transpose":
            place = np.transpose(place, helper.get_node_attr_value(node, "perm"))
        elif node.op_type == "Reshape":
            place = np.reshape(place, constants[node.input[1]])
    if place.shape != (1, 4, BLOCK * grid, BLOCK * grid):
        return None
    blocks = place[0, 0].reshape(grid, BLOCK, grid, BLOCK).swapaxes(1, 2).reshape(grid * grid, BLOCK * BLOCK)
    order = blocks[0]
    in_blocks = np.arange(grid * grid)[:, None] * BLOCK * BLOCK + order
    return np.asarray(order) if (blocks == in_blocks).all() else None
