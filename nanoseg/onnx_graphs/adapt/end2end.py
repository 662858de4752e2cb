"""The nodes from an end-to-end detector's rows, one class each, to the END2END contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_nodes import add_boxes, add_columns
from nanoseg.onnx_graphs.adapt.detector_spec import Column, OutputSpec
from nanoseg.onnx_graphs.model.builder import GraphBuilder
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.pictures import example_pictures
from nanoseg.onnx_graphs.model.run import BASIC, Session
from nanoseg.onnx_graphs.model.shapes import FLOATS, Dims, dtype_name, dtype_of, format_shape, shape_of

BOX_AND_SCORE: tuple[Column, ...] = ("box", "score")  # of a joint tensor beside class ids of their own
DEFAULT_COLUMNS: tuple[Column, ...] = ("box", "score", "class")
INTEGERS = (TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8)


def table_shape(shape: Dims, transposed: bool) -> tuple[int, int] | None:
    """Return the rows and columns of a joint tensor, (1, N, columns) or (N, columns); None for another one."""
    shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(shape) != 2 or shape[0] is None or shape[1] is None:
        return None
    return (shape[1], shape[0]) if transposed else (shape[0], shape[1])


def add_end2end_nodes(g: GraphBuilder, path: Path, model: onnx.ModelProto, spec: OutputSpec, side: int) -> int:
    """Append the nodes from the outputs to `boxes` (1, N, 4), `scores` (1, N) and `class_ids` (1, N), all float32.

    Rows that are not in use, as they are beyond the count or their class id is negative, get the score 0.

    Args:
        g: the graph to append to.
        path: the network's file, for messages.
        model: the network; its outputs have the spec's names with the prefix `detector/`.
        spec: the meaning of its outputs.
        side: of its input in pixels.

    Returns:
        N.

    Raises:
        BundleError: an output's shape or type does not fit the spec.
    """
    found = {value.name.removeprefix("detector/"): value for value in model.graph.output}
    if spec.joint is not None:
        rows, parts = _split_joint(g, path, found[spec.joint], spec)
        if spec.class_ids is not None:
            parts["class"] = _list(g, path, found[spec.class_ids], rows, INTEGERS + FLOATS)
    else:
        rows, parts = _separate(g, path, found, spec)
    scores, class_ids = parts["score"], parts["class"]
    if spec.activation == "sigmoid":
        scores = g.add("Sigmoid", scores)
    if "objectness" in parts:
        scores = g.add("Mul", scores, parts["objectness"])
    if spec.background == "first":
        class_ids = g.add("Sub", class_ids, np.float32(1))
    in_use = g.add("GreaterOrEqual", class_ids, np.float32(0))
    if spec.count is not None:
        count = _list(g, path, found[spec.count], 1, INTEGERS + FLOATS)
        in_use = g.add("And", in_use, g.add("Less", np.arange(rows, dtype=np.float32).reshape(1, rows), count))
    add_boxes(g, parts["box"], spec, side)
    g.add("Where", in_use, scores, np.float32(0), name="scores")
    g.add("Identity", class_ids, name="class_ids")
    return rows


def largest_class_id(detector: SourceNetwork) -> int:
    """Return the largest class id that a checked end-to-end detector gives for some images; -1 where it finds none."""
    session = Session(detector.model, str(detector.path), BASIC)
    largest = -1
    for image in example_pictures(detector.dims["S"]):
        out = session(["scores", "class_ids"], {"images": image[None]})
        largest = max(largest, int(out["class_ids"][out["scores"] > 0].max(initial=-1)))
    return largest


def _split_joint(
    g: GraphBuilder, path: Path, value: onnx.ValueInfoProto, spec: OutputSpec
) -> tuple[int, dict[str, str]]:
    columns = spec.columns or (BOX_AND_SCORE if spec.class_ids else DEFAULT_COLUMNS)
    least = len(columns) + 3
    name, shape = str(spec.joint), table_shape(shape_of(value), spec.transposed)
    if shape is None or shape[1] < least:
        wanted = f"(1, {least}, N)" if spec.transposed else f"(1, N, {least})"
        raise BundleError(
            f"{path}: '{name}' wants {wanted} for columns {', '.join(columns)}, got {format_shape(shape_of(value))}"
        )
    rows, width = shape
    table = _floats(g, path, value, FLOATS)
    if spec.transposed:
        table = g.add("Transpose", g.add("Reshape", table, np.array([1, width, rows], np.int64)), perm=[0, 2, 1])
    else:
        table = g.add("Reshape", table, np.array([1, rows, width], np.int64))
    parts, at = dict[str, str](), 0
    for column in columns:
        end = at + (4 if column == "box" else 1)
        if column != "batch":
            part = add_columns(g, table, at, end)
            parts[column] = part if column == "box" else g.add("Reshape", part, np.array([1, rows], np.int64))
        at = end
    return rows, parts


def _separate(
    g: GraphBuilder, path: Path, found: dict[str, onnx.ValueInfoProto], spec: OutputSpec
) -> tuple[int, dict[str, str]]:
    boxes = found[str(spec.boxes)]
    shape = table_shape(shape_of(boxes), spec.transposed)
    if shape is None or shape[1] != 4:
        wanted = "(1, 4, N)" if spec.transposed else "(1, N, 4)"
        raise BundleError(f"{path}: '{spec.boxes}' wants {wanted}, got {format_shape(shape_of(boxes))}")
    rows = shape[0]
    table = _floats(g, path, boxes, FLOATS)
    if spec.transposed:
        table = g.add("Transpose", g.add("Reshape", table, np.array([1, 4, rows], np.int64)), perm=[0, 2, 1])
    parts = {"box": g.add("Reshape", table, np.array([1, rows, 4], np.int64))}
    parts["score"] = _list(g, path, found[str(spec.scores)], rows, FLOATS)
    parts["class"] = _list(g, path, found[str(spec.class_ids)], rows, INTEGERS + FLOATS)
    return rows, parts


def _list(g: GraphBuilder, path: Path, value: onnx.ValueInfoProto, rows: int, types: tuple[int, ...]) -> str:
    """Return the name of an output as float32 (1, N)."""
    got, name = shape_of(value), value.name.removeprefix("detector/")
    if None in got or np.prod(np.array(got, np.int64)) != rows:
        raise BundleError(f"{path}: '{name}' wants (1, {rows}), got {format_shape(got)}")
    return g.add("Reshape", _floats(g, path, value, types), np.array([1, rows], np.int64))


def _floats(g: GraphBuilder, path: Path, value: onnx.ValueInfoProto, types: tuple[int, ...]) -> str:
    """Return the name of an output as float32; raises BundleError where it has none of these types."""
    dtype = dtype_of(value)
    if dtype not in types:
        wanted = "float32, float16, int64, int32, int8 or uint8" if set(types) > set(FLOATS) else "float32 or float16"
        raise BundleError(f"{path}: '{value.name.removeprefix('detector/')}' wants {wanted}, got {dtype_name(dtype)}")
    return value.name if dtype == TensorProto.FLOAT else g.add("Cast", value.name, to=TensorProto.FLOAT)
