"""Networks of a few operators that fulfil the model contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT, HALF, BYTE = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8
DETECTOR_PX, ENCODER_PX, GRID, CLASSES = 64, 64, 4, 3
# Where the networks should have the detector's 64 pixels: a frame of its own size is neither moved nor scaled.
PLAIN_GEOMETRY = np.array([1, 1, 0, 0, 1, 1, 64, 64], np.float32)


def save(
    path: Path,
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    opset: int = 19,
    dtype: int = FLOAT,
) -> Path:
    """Write a network of these nodes; `dtype` is the inputs', outputs are float32, or float16 where inputs are."""
    gives = HALF if dtype == HALF else FLOAT
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, gives, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def detector(path: Path, boxes: np.ndarray, scores: np.ndarray, sight: float = 0) -> Path:
    """Gives these boxes (A, 4) and scores (A, C), whatever it sees; but for `sight` times the mean of its input."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["bright"], keepdims=0),
        helper.make_node("Mul", ["bright", "nothing"], ["zero"]),
        helper.make_node("Add", ["some_boxes", "zero"], ["boxes"]),
        helper.make_node("Add", ["some_scores", "zero"], ["scores"]),
    ]
    constants = {
        "some_boxes": boxes[None].astype(np.float32),
        "some_scores": scores[None].astype(np.float32),
        "nothing": np.float32(sight),
    }
    inputs = {"images": (1, 3, DETECTOR_PX, DETECTOR_PX)}
    return save(path, inputs, {"boxes": (1, *boxes.shape), "scores": (1, *scores.shape)}, nodes, constants)


def pose_detector(path: Path, boxes: np.ndarray, scores: np.ndarray, keypoints: np.ndarray, sight: float = 0) -> Path:
    """Gives these boxes, scores (A, 1) and keypoints (A, J, 3), whatever it sees, as `detector` does."""
    model = onnx.load(detector(path, boxes, scores, sight))
    model.graph.node.append(helper.make_node("Add", ["some_keypoints", "zero"], ["keypoints"]))
    model.graph.initializer.append(numpy_helper.from_array(keypoints[None].astype(np.float32), "some_keypoints"))
    model.graph.output.append(helper.make_tensor_value_info("keypoints", FLOAT, (1, *keypoints.shape)))
    onnx.save(model, path)
    return path


def some_pose_detector(path: Path, padding: str = "bottom-right 127") -> Path:
    """A detector of 20 objects of one class: keypoints at two corners and, unsure, in the middle of each box."""
    rng = np.random.default_rng(5)
    corner = rng.uniform(0, 40, (20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 20, (20, 2))], 1)
    places = np.stack([boxes[:, :2], boxes[:, 2:], (boxes[:, :2] + boxes[:, 2:]) / 2], 1)
    confidences = np.broadcast_to(np.array([0.9, 0.8, 0.3])[:, None], (20, 3, 1))
    keypoints = np.concatenate([places, confidences], 2)
    model = onnx.load(pose_detector(path, boxes, rng.uniform(0.3, 0.9, (20, 1)), keypoints, sight=5e-3))
    named = {"names": ["head", "foot", "belt"], "sigmas": [0.05, 0.1, 0.1], "skeleton": [[0, 1], [1, 2]]}
    described = {
        "keypoints": json.dumps(named),
        "padding": padding,
        "rescale_px": str(DETECTOR_PX),
        "labels": '["person"]',
    }
    for key, value in described.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def some_detector(path: Path) -> Path:
    """A detector of three classes with 20 boxes."""
    rng = np.random.default_rng(5)
    corner = rng.uniform(0, 40, (20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 20, (20, 2))], 1)
    return detector(path, boxes, rng.random((20, CLASSES)), sight=5e-3)


def encoder(path: Path, grid: int = GRID, cell_px: int = 16) -> Path:
    """A 16 x 16 convolution of stride 16, as SAM's first one is; or with another cell."""
    weight = np.random.default_rng(6).normal(0, 0.05, (256, 3, cell_px, cell_px)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "weight"], ["image_embeddings"], strides=[cell_px, cell_px])]
    side = cell_px * grid
    return save(
        path, {"image": (1, 3, side, side)}, {"image_embeddings": (1, 256, grid, grid)}, nodes, {"weight": weight}
    )


def decoder(path: Path, prompts: int | str = "N", tail: bool = True, mask_input: bool = False, opset: int = 19) -> Path:
    """Masks as SAM makes them, weights times pixels, the weights linear in the sum of the prompt's points.

    Without `tail` the end is not recognisable; with `mask_input` it has the inputs of SAM's own export.
    """
    rng = np.random.default_rng(7)
    side = 4 * GRID
    nodes = [
        helper.make_node("Unsqueeze", ["point_labels", "last"], ["labels"]),
        helper.make_node("Mul", ["point_coords", "labels"], ["points"]),
        helper.make_node("ReduceSum", ["points", "middle"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "to_weights"], ["flat_weights"]),
        helper.make_node("Reshape", ["flat_weights", "weights_shape"], ["weights"]),
        helper.make_node("Reshape", ["image_embeddings", "embedding_shape"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "to_pixels"], ["pixels"]),
        helper.make_node("MatMul", ["weights", "pixels"], ["product"]),
        helper.make_node("Reshape", ["product", "square"], ["squares"]),
        helper.make_node("Transpose", ["squares"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "masks_shape"], ["low_res_masks" if tail else "masks"]),
        helper.make_node("MatMul", ["sum", "to_iou"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["sine" if mask_input else "iou_predictions"]),
    ]
    if not tail:
        nodes.append(helper.make_node("Neg", ["masks"], ["low_res_masks"]))
    inputs: dict[str, Sequence[int | str]] = {
        "image_embeddings": (1, 256, GRID, GRID),
        "point_coords": (prompts, "P", 2),
        "point_labels": (prompts, "P"),
    }
    if mask_input:
        inputs |= {"mask_input": (1, 1, side, side), "has_mask_input": (1,)}
        nodes += [
            helper.make_node("ReduceMax", ["mask_input"], ["brightest"], keepdims=0),
            helper.make_node("Add", ["brightest", "has_mask_input"], ["mask"]),
            helper.make_node("Add", ["sine", "mask"], ["iou_predictions"]),
        ]
    constants = {
        "last": np.array([2]),
        "middle": np.array([1]),
        "to_weights": rng.normal(0, 0.05, (2, 4 * 32)).astype(np.float32),
        "weights_shape": np.array([-1, 4, 32]),
        "embedding_shape": np.array([1, 32, 8 * GRID * GRID]),
        "to_pixels": rng.normal(0, 0.05, (8 * GRID * GRID, side * side)).astype(np.float32),
        "square": np.array([-1, side, side]),
        "masks_shape": np.array([-1, 4, side, side]),
        "to_iou": rng.normal(0, 1, (2, 4)).astype(np.float32),
    }
    outputs = {"low_res_masks": (prompts, 4, side, side), "iou_predictions": (prompts, 4)}
    return save(path, inputs, outputs, nodes, constants, opset)


def sam_decoder(
    path: Path, prompts: int | str = 1, single: bool = False, opset: int = 17, points: int | str = "P"
) -> Path:
    """A decoder with the inputs and outputs of segment-anything's own export, absent points unknown to it.

    Every point counts, whatever its label. A mask prompt adds its mean to logits and IoU. `single` is
    --return-single-mask. `masks`, upscaled to orig_im_size, comes first, as there.
    """
    rng = np.random.default_rng(8)
    side, count = 4 * GRID, 1 if single else 4
    nodes = [
        helper.make_node("Unsqueeze", ["point_labels", "last"], ["labels"]),
        helper.make_node("Mul", ["point_coords", "labels"], ["weighted"]),
        helper.make_node("Add", ["weighted", "one"], ["points"]),
        helper.make_node("ReduceMean", ["image_embeddings"], ["bright"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceSum", ["points", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["mask_input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "has_mask_input"], ["hint"]),
        helper.make_node("Add", ["hint", "bright"], ["shift"]),
        helper.make_node("Unsqueeze", ["shift", "middle"], ["column"]),
        helper.make_node("MatMul", ["sum", "to_iou"], ["angle"]),
        helper.make_node("Add", ["angle", "column"], ["shifted"]),
        helper.make_node("Sin", ["shifted"], ["iou_predictions"]),
        # What its exporter makes of repeat_interleave, and what no TensorRT builds.
        helper.make_node("Shape", ["sum"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["n"]),
        helper.make_node("Concat", ["one_long", "n"], ["off_on"], axis=0),
        helper.make_node("OneHot", ["zero", "four", "off_on"], ["hot"], axis=-1),
        helper.make_node("Reshape", ["hot", "flat"], ["times"]),
        helper.make_node("Tile", ["pixels", "times"], ["tiled"]),
        helper.make_node("Reshape", ["shifted", "corner"], ["corners"]),
        helper.make_node("Mul", ["tiled", "corners"], ["low_res_masks"]),
        helper.make_node("Cast", ["orig_im_size"], ["size"], to=onnx.TensorProto.INT64),
        helper.make_node("Concat", ["two_long", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["low_res_masks", "", "", "sizes"], ["masks"], mode="linear"),
    ]
    constants = {
        "last": np.array([2]), "middle": np.array([1]), "first": np.array([0]), "zero": np.array([0]),
        "four": np.array(4), "one_long": np.array([1]), "two_long": np.array([1, count]), "flat": np.array([-1]),
        "corner": np.array([-1, count, 1, 1]), "one": np.float32(1),
        "to_iou": rng.normal(0, 1, (2, count)).astype(np.float32),
        "pixels": rng.normal(0, 1, (1, count, side, side)).astype(np.float32),
    }  # fmt: skip
    inputs = {
        "image_embeddings": (1, 256, GRID, GRID), "point_coords": (prompts, points, 2),
        "point_labels": (prompts, points), "mask_input": (prompts, 1, side, side), "has_mask_input": (prompts,),
        "orig_im_size": (2,),
    }  # fmt: skip
    outputs = {"masks": ("a", "b", "c", "d"), "iou_predictions": ("e", "f"), "low_res_masks": ("g", "h", "i", "j")}
    return save(path, inputs, outputs, nodes, constants, opset)


def varying_sides(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of tensors with a side that inference cannot tell, with what it calls them."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if any(not side.HasField("dim_value") for side in sides):
            found[value.name] = [side.dim_param for side in sides]
    return found
