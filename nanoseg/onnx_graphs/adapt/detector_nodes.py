"""The nodes between DETECTOR's contract and what a form says of a detector."""

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

# They hand on numbers of any type as they are.
MOVES = ("Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def add_input_nodes(g: GraphBuilder, model: onnx.ModelProto, form: InputSpec) -> str:
    """`images` as the network's one input wants them; returns the tensor's name."""
    value = model.graph.input[0]
    dtype = dtype_of(value)
    x = "images"
    if form.colour == "bgr":
        x = g.add("Gather", x, np.array([2, 1, 0], np.int64), axis=1)
    if dtype == TensorProto.UINT8:
        x = g.add("Floor", g.add("Add", g.add("Mul", x, np.float32(255)), np.float32(0.5)))
    elif form.scale is not None:
        x = g.add("Mul", x, np.float32(255 * form.scale))
    by_channel = (1, 3, 1, 1)
    if any(form.mean):
        x = g.add("Sub", x, np.array(form.mean, np.float32).reshape(by_channel))
    if set(form.std) != {1.0}:
        x = g.add("Div", x, np.array(form.std, np.float32).reshape(by_channel))
    if form.layout == "nhwc":
        x = g.add("Transpose", x, perm=[0, 2, 3, 1])
    # TensorRT takes uint8 at a graph's own input only, so bytes are made of whole levels where nothing else will do.
    if dtype == TensorProto.FLOAT or (dtype == TensorProto.UINT8 and _is_cast(model, value.name)):
        return x
    return g.add("Cast", x, to=dtype)


def _is_cast(model: onnx.ModelProto, name: str) -> bool:
    """Whether all that becomes of a tensor, moved around or not, is a Cast: which type it has is then of no matter."""
    readers = [node for node in model.graph.node if name in node_inputs(node)]
    return all(
        node.op_type == "Cast"
        or (node.op_type in MOVES and name == node.input[0] and all(_is_cast(model, out) for out in node.output))
        for node in readers
    )


def add_output_nodes(
    g: GraphBuilder, path: Path, model: onnx.ModelProto, form: OutputSpec, side: int
) -> tuple[int, int]:
    """`boxes` (1, A, 4) and `scores` (1, A, C) out of what the network gives; returns A and C.

    Its outputs are called `detector/` and the form's names. Raises BundleError for shapes that the form does not mean.
    """
    found = {value.name.removeprefix("detector/"): value for value in model.graph.output}
    columns: dict[str, int] = {}
    tables: dict[str, str] = {}
    anchors = 0
    for name in form.names:
        shape, dtype = shape_of(found[name]), dtype_of(found[name])
        turned = (shape[0], shape[2], shape[1]) if form.transposed and len(shape) == 3 else shape
        want: tuple[int | str, ...] = (1, anchors or "A", 4 if name == form.boxes else "C")
        if name == form.joint:
            want = (1, "A", "4 + 1 + C" if form.objectness else "4 + C")
        if len(turned) != 3 or any(
            got is None or (isinstance(side, int) and got != side) for side, got in zip(want, turned, strict=True)
        ):
            wanted = (want[0], want[2], want[1]) if form.transposed else want
            raise BundleError(f"{path}: '{name}' wants {format_shape(wanted)}, got {format_shape(shape)}")
        anchors, columns[name] = turned[1] or 0, turned[2] or 0
        if dtype not in FLOATS:
            raise BundleError(f"{path}: '{name}' wants float32 or float16, got {dtype_name(dtype)}")
        x = f"detector/{name}"
        x = x if dtype == TensorProto.FLOAT else g.add("Cast", x, to=TensorProto.FLOAT)
        tables[name] = g.add("Transpose", x, perm=[0, 2, 1]) if form.transposed else x
    if form.joint:
        table, first = tables[form.joint], 5 if form.objectness else 4
        boxes = _columns(g, table, 0, 4)
        scores, classes = _columns(g, table, first, columns[form.joint]), columns[form.joint] - first
        objectness = _columns(g, table, 4, 5) if form.objectness else None
    else:
        boxes, scores, objectness = tables[str(form.boxes)], tables[str(form.scores)], None
        classes = columns[str(form.scores)]
    _add_boxes(g, boxes, form, side)
    return anchors, _add_scores(g, path, scores, objectness, classes, form)


def _add_boxes(g: GraphBuilder, boxes: str, form: OutputSpec, side: int) -> None:
    if form.box_form != "xyxy":
        at, size = _columns(g, boxes, 0, 2), _columns(g, boxes, 2, 4)
        if form.box_form == "cxcywh":
            at = g.add("Sub", at, g.add("Mul", size, np.float32(0.5)))
        boxes = g.add("Concat", at, g.add("Add", at, size), axis=2)
    if form.normalised:
        boxes = g.add("Mul", boxes, np.float32(side))
    g.add("Identity", boxes, name="boxes")


def _add_scores(
    g: GraphBuilder, path: Path, scores: str, objectness: str | None, classes: int, form: OutputSpec
) -> int:
    if form.activation == "sigmoid":
        scores = g.add("Sigmoid", scores)
        objectness = objectness and g.add("Sigmoid", objectness)
    elif form.activation == "softmax":
        scores = g.add("Softmax", scores, axis=2)
    if form.background != "none":
        first = int(form.background == "first")
        classes -= 1
        scores = _columns(g, scores, first, first + classes)
    if classes < 1:
        raise BundleError(f"{path}: wanted the scores of one class or more, got no column for them")
    if objectness:
        scores = g.add("Mul", scores, objectness)
    g.add("Identity", scores, name="scores")
    return classes


def _columns(g: GraphBuilder, table: str, first: int, last: int) -> str:
    return g.add("Slice", table, np.array([first], np.int64), np.array([last], np.int64), np.array([2], np.int64))
