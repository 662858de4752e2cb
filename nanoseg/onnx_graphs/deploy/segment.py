"""Compose embed.onnx, the image encoder, and segment.onnx and segment_mask.onnx, the mask decoder."""

from __future__ import annotations

import numpy as np
import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.best_mask import MASKS, add_best_mask
from nanoseg.onnx_graphs.model.builder import GraphBuilder, Shape, build_model, tensor_info
from nanoseg.onnx_graphs.model.contract import SourceNetwork, with_native_input_type


def embed_graph(encoder: SourceNetwork) -> onnx.ModelProto:
    """Compose the graph of a checked encoder.

    Its input is `image` (1, 3, E, E), float32, or float16 where the encoder computes in it; its output
    `image_embeddings` (1, 256, g, g) float32.
    """
    side, grid = encoder.dims["E"], encoder.dims["g"]
    nodes, dtype = with_native_input_type(encoder.renamed({}), "image")
    return build_model(
        "embed",
        [tensor_info("image", dtype, (1, 3, side, side))],
        [tensor_info("image_embeddings", np.float32, (1, 256, grid, grid))],
        nodes,
        encoder.model.graph.initializer,
    )


def segment_graph(decoder: SourceNetwork, all_masks: bool = False) -> onnx.ModelProto:
    """Compose the graph of a checked decoder, with prompts in pixels of the frame.

    Inputs, all float32: `image_embeddings` (1, 256, g, g), `point_coords` (N, P, 2) in pixels of the frame,
    `point_labels` (N, P) and `geometry` (8,). A decoder with mask prompts keeps `mask_input` (N, 1, 4g, 4g), logits of
    an earlier result, and `has_mask_input` (N,). N and P are dynamic where the decoder's are.

    Outputs: `low_res_masks` (N, 1, 4g, 4g), the mask with the highest predicted IoU, and `iou_predictions` (N, 1), that
    IoU.

    Args:
        decoder: a decoder of four masks, or of one that it chooses itself.
        all_masks: output all masks of the decoder instead of the best one.

    Raises:
        BundleError: the decoder's masks are not 4g wide.
    """
    grid = decoder.dims["g"]
    takes_masks = "mask_input" in {value.name for value in decoder.model.graph.input}
    n: int | str = decoder.dims.get("N", "prompts")
    p: int | str = decoder.dims.get("P", "points")
    if decoder.dims.get("m", 4 * grid) != 4 * grid:
        got, name = decoder.dims["m"], "mask_input" if takes_masks else "low_res_masks"
        raise BundleError(f"{decoder.path}: '{name}' wants sides of {4 * grid}, four times g, got {got}")
    g = GraphBuilder()
    names = {"point_coords": "nanoseg/encoder_coords"}
    scale = g.add("Gather", "geometry", np.array([4, 5], np.int64))
    g.add("Mul", "point_coords", scale, name=names["point_coords"])
    masks = decoder.dims.get("k", MASKS)
    if all_masks or masks == 1:
        g.nodes += decoder.renamed(names)
    else:
        masks = 1
        names |= {"low_res_masks": "nanoseg/all_masks", "iou_predictions": "nanoseg/all_iou"}
        nodes = decoder.renamed(names)
        add_best_mask(g, decoder.model, nodes, names["low_res_masks"], names["iou_predictions"])
    shape: Shape = (n, masks, 4 * grid, 4 * grid)
    inputs = [
        tensor_info("image_embeddings", np.float32, (1, 256, grid, grid)),
        tensor_info("point_coords", np.float32, (n, p, 2)),
        tensor_info("point_labels", np.float32, (n, p)),
        tensor_info("geometry", np.float32, (8,)),
    ]
    if takes_masks:
        inputs += [
            tensor_info("mask_input", np.float32, (n, 1, 4 * grid, 4 * grid)),
            tensor_info("has_mask_input", np.float32, (n,)),
        ]
    return build_model(
        "segment_mask" if takes_masks else "segment",
        inputs,
        [tensor_info("low_res_masks", np.float32, shape), tensor_info("iou_predictions", np.float32, (n, masks))],
        g.nodes,
        [*decoder.model.graph.initializer, *g.constants],
    )
