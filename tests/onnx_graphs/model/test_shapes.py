"""Inferred and measured output shapes, and random feeds."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.opset import to_supported_opset
from nanoseg.onnx_graphs.model.shapes import infer_output_shapes, random_feeds, shape_of
from tests.helpers.tiny_networks import GRID, save


def node(op: str, inputs: list[str], output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **attributes)


def test_shapes_are_measured_where_inference_fails(tmp_path: Path) -> None:
    """The third side follows the input's, the others are the same in every run."""
    nodes = [
        node("Cast", ["x"], "whole", to=onnx.TensorProto.INT64),
        node("ReduceMax", ["whole"], "most", keepdims=0),
        node("Mul", ["most", "nothing"], "zero"),
        node("Add", ["sides", "zero"], "target"),
        node("Expand", ["x", "target"]),
    ]
    constants = {"nothing": np.array(0), "sides": np.array([2, 1, 1])}
    path = save(tmp_path / "net.onnx", {"x": (1, 3, "w")}, {"y": ("a", "b", "c")}, nodes, constants)
    assert shape_of(infer_output_shapes(path, to_supported_opset(path, read_model(path)), {}).graph.output[0]) == (
        2,
        3,
        None,
    )


def test_shapes_random_feeds_of_a_mask_decoder(tmp_path: Path) -> None:
    inputs = {
        "image_embeddings": (1, 256, GRID, GRID), "point_coords": ("N", "P", 2), "point_labels": ("N", "P"),
        "mask_input": ("N", 1, 4 * GRID, 4 * GRID), "has_mask_input": ("N",),
    }  # fmt: skip
    nodes = [node("Identity", ["point_labels"])]
    feeds = random_feeds(onnx.load(save(tmp_path / "net.onnx", inputs, {"y": ("N", "P")}, nodes, {})), 3)
    assert set(feeds["point_labels"].flat) == {2, 3, 1, 0, -1}
    assert feeds["has_mask_input"].tolist() == [1, 0, 1]
    assert feeds["mask_input"].min() < -4
    assert feeds["mask_input"].max() > 4
    assert 8 * GRID < feeds["point_coords"].max() <= 16 * GRID
