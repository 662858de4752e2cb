"""The nodes that convert between the DETECTOR contract and a detector spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import InputSpec, OutputSpec
from nanoseg.onnx_graphs.model.builder import GraphBuilder
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.shapes import FLOATS, dtype_name, dtype_of, format_shape, shape_of

# Operators that move numbers of any type without changing them.
MOVES = ("Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def add_input_nodes(g: GraphBuilder, model: onnx.ModelProto, spec: InputSpec) -> str:
    """Append the nodes from `images`, RGB in 0..1, to the network's one input.

    Args:
        g: the graph to append to.
        model: the network, for its input's type.
        spec: the layout, colour and scale that it takes.

    Returns:
        The name of the tensor to read instead of the input.
    """
    value = model.graph.input[0]
    dtype = dtype_of(value)
    x = "images"
    if spec.colour == "bgr":
        x = g.add("Gather", x, np.array([2, 1, 0], np.int64), axis=1)
    if dtype == TensorProto.UINT8:
        x = g.add("Floor", g.add("Add", g.add("Mul", x, np.float32(255)), np.float32(0.5)))
    elif spec.scale is not None:
        x = g.add("Mul", x, np.float32(255 * spec.scale))
    by_channel = (1, 3, 1, 1)
    if any(spec.mean):
        x = g.add("Sub", x, np.array(spec.mean, np.float32).reshape(by_channel))
    if set(spec.std) != {1.0}:
        x = g.add("Div", x, np.array(spec.std, np.float32).reshape(by_channel))
    if spec.layout == "nhwc":
        x = g.add("Transpose", x, perm=[0, 2, 3, 1])
    # TensorRT takes uint8 at a graph's own input only, so a Cast to it is the last resort.
    if dtype == TensorProto.FLOAT or (dtype == TensorProto.UINT8 and _is_cast(model, value.name)):
        return x
    return g.add("Cast", x, to=dtype)


def _is_cast(model: onnx.ModelProto, name: str) -> bool:
    """Return whether every reader of a tensor, behind moves or not, is a Cast: then its own type does not matter."""
    readers = [node for node in model.graph.node if name in node_inputs(node)]
    return all(
        node.op_type == "Cast"
        or (node.op_type in MOVES and name == node.input[0] and all(_is_cast(model, out) for out in node.output))
        for node in readers
    )


def add_output_nodes(
    g: GraphBuilder, path: Path, model: onnx.ModelProto, spec: OutputSpec, side: int
) -> tuple[int, int]:
    """Append the nodes from the network's outputs to `boxes` (1, A, 4), xyxy in pixels, and `scores` (1, A, C).

    Args:
        g: the graph to append to.
        path: the network's file, for messages.
        model: the network; its outputs have the spec's names with the prefix `detector/`.
        spec: the meaning of its outputs.
        side: of its input in pixels.

    Returns:
        A and C.

    Raises:
        BundleError: an output's shape or type does not fit the spec.
    """
    found = {value.name.removeprefix("detector/"): value for value in model.graph.output}
    columns: dict[str, int] = {}
    tables: dict[str, str] = {}
    anchors = 0
    for name in spec.names:
        shape, dtype = shape_of(found[name]), dtype_of(found[name])
        anchors_first = (shape[0], shape[2], shape[1]) if spec.transposed and len(shape) == 3 else shape
        want: tuple[int | str, ...] = (1, anchors or "A", 4 if name == spec.boxes else "C")
        if name == spec.joint:
            want = (1, "A", "4 + 1 + C" if spec.objectness else "4 + C")
        if len(anchors_first) != 3 or any(
            got is None or (isinstance(dim, int) and got != dim) for dim, got in zip(want, anchors_first, strict=True)
        ):
            wanted = (want[0], want[2], want[1]) if spec.transposed else want
            raise BundleError(f"{path}: '{name}' wants {format_shape(wanted)}, got {format_shape(shape)}")
        anchors, columns[name] = anchors_first[1] or 0, anchors_first[2] or 0
        if dtype not in FLOATS:
            raise BundleError(f"{path}: '{name}' wants float32 or float16, got {dtype_name(dtype)}")
        x = f"detector/{name}"
        x = x if dtype == TensorProto.FLOAT else g.add("Cast", x, to=TensorProto.FLOAT)
        tables[name] = g.add("Transpose", x, perm=[0, 2, 1]) if spec.transposed else x
    if spec.joint:
        table, first = tables[spec.joint], 5 if spec.objectness else 4
        boxes = add_columns(g, table, 0, 4)
        scores, classes = add_columns(g, table, first, columns[spec.joint]), columns[spec.joint] - first
        objectness = add_columns(g, table, 4, 5) if spec.objectness else None
    else:
        boxes, scores, objectness = tables[str(spec.boxes)], tables[str(spec.scores)], None
        classes = columns[str(spec.scores)]
    add_boxes(g, boxes, spec, side)
    return anchors, _add_scores(g, path, scores, objectness, classes, spec)


def add_boxes(g: GraphBuilder, boxes: str, spec: OutputSpec, side: int) -> None:
    """Append the nodes from boxes (1, A, 4) of the spec's form to `boxes`, xyxy in pixels."""
    if spec.box_form == "yxyx":
        boxes = g.add("Gather", boxes, np.array([1, 0, 3, 2], np.int64), axis=2)
    elif spec.box_form != "xyxy":
        at, size = add_columns(g, boxes, 0, 2), add_columns(g, boxes, 2, 4)
        if spec.box_form == "cxcywh":
            at = g.add("Sub", at, g.add("Mul", size, np.float32(0.5)))
        boxes = g.add("Concat", at, g.add("Add", at, size), axis=2)
    if spec.normalised:
        boxes = g.add("Mul", boxes, np.float32(side))
    g.add("Identity", boxes, name="boxes")


def _add_scores(
    g: GraphBuilder, path: Path, scores: str, objectness: str | None, classes: int, spec: OutputSpec
) -> int:
    if spec.activation == "sigmoid":
        scores = g.add("Sigmoid", scores)
        objectness = objectness and g.add("Sigmoid", objectness)
    elif spec.activation == "softmax":
        scores = g.add("Softmax", scores, axis=2)
    if spec.background != "none":
        first = int(spec.background == "first")
        classes -= 1
        scores = add_columns(g, scores, first, first + classes)
    if classes < 1:
        raise BundleError(f"{path}: wanted the scores of one class or more, got no column for them")
    if objectness:
        scores = g.add("Mul", scores, objectness)
    g.add("Identity", scores, name="scores")
    return classes


def add_columns(g: GraphBuilder, table: str, first: int, last: int) -> str:
    """Append a Slice of columns; `last` is not among them."""
    return g.add("Slice", table, np.array([first], np.int64), np.array([last], np.int64), np.array([2], np.int64))
