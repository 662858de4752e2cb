"""Decide whether a detector's outputs hold one column a class, or rows of one class each, as end-to-end detectors'.

A joint tensor of two classes, (1, N, 4 + 2), has the shape of end-to-end rows, (1, N, box + score + class id). The
file's metadata says which it is, else the values for images do: class ids are whole numbers, scores are not.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_nodes import add_input_nodes
from nanoseg.onnx_graphs.adapt.detector_spec import Column, DetectorSpec, InputSpec, OutputSpec
from nanoseg.onnx_graphs.adapt.end2end import DEFAULT_COLUMNS, table_shape
from nanoseg.onnx_graphs.deploy.float32 import float32_model
from nanoseg.onnx_graphs.model.builder import GraphBuilder, build_model, tensor_info
from nanoseg.onnx_graphs.model.contract import NEEDS_NMS
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS
from nanoseg.onnx_graphs.model.pictures import example_pictures
from nanoseg.onnx_graphs.model.prune import rename_tensors
from nanoseg.onnx_graphs.model.run import BASIC, Session
from nanoseg.onnx_graphs.model.shapes import format_shape, shape_of

# The orders of columns that exporters write, by their number.
ORDERS: dict[int, tuple[tuple[Column, ...], ...]] = {
    6: (DEFAULT_COLUMNS, ("box", "class", "score"), ("class", "score", "box")),
    7: (
        ("batch", "box", "score", "class"),  # super-gradients
        ("batch", "box", "class", "score"),  # YOLOv7
        ("batch", "class", "score", "box"),
        ("box", "objectness", "score", "class"),  # YOLOX
    ),
}
CHOICE = 'write form = "end2end" (columns box, score, class id) or form = "scores" (a column a class) under [outputs]'
# More rows than any exporter leaves; and the strides of heads whose every cell is a row.
MOST_KEPT = 1000
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


def decide_form(path: Path, model: onnx.ModelProto, spec: DetectorSpec, side: int) -> OutputSpec:
    """Return the output spec; of an end-to-end detector with form, columns and nms set.

    Args:
        path: the network's file, for messages.
        model: the network, with its outputs' shapes; it is not changed.
        spec: its spec, with names of outputs.
        side: of its input in pixels.

    Raises:
        BundleError: metadata, spec and values contradict each other, or leave it open.
    """
    outputs = spec.outputs
    if outputs.joint is None and not outputs.class_ids:
        return outputs
    if outputs.columns or outputs.class_ids:
        outputs = msgspec.structs.replace(outputs, form="end2end")
    elif outputs.form != "scores":
        outputs = _decide_joint(path, model, spec, side)
    if outputs.form != "end2end":
        return outputs
    if outputs.nms is None:
        outputs = msgspec.structs.replace(outputs, nms=_needs_nms(model, outputs, side))
    return outputs


def is_end2end(model: onnx.ModelProto) -> bool:
    """Return whether a file's metadata, as Ultralytics writes it, calls the network end-to-end."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        arguments = ast.literal_eval(metadata.get("args", "{}"))
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):  # all that it documents
        arguments = {}
    nms = isinstance(arguments, dict) and bool(arguments.get("nms"))
    return metadata.get("end2end", "").strip().lower() in ("true", "1") or nms


class _Order(NamedTuple):
    """Columns that fit the values; `is_sure` where the class ids cannot be scores."""

    columns: tuple[Column, ...]
    is_sure: bool


def _decide_joint(path: Path, model: onnx.ModelProto, spec: DetectorSpec, side: int) -> OutputSpec:
    outputs, name = spec.outputs, str(spec.outputs.joint)
    value = next(value for value in model.graph.output if value.name == name)
    declared = outputs.form == "end2end" or is_end2end(model)
    shape = table_shape(shape_of(value), outputs.transposed)
    if declared and not outputs.transposed and shape is not None and shape[0] < min(7, shape[1]):
        outputs, shape = msgspec.structs.replace(outputs, transposed=True), (shape[1], shape[0])
    if shape is None or shape[1] < 6:
        return outputs  # the contract's own message, or one class
    of_scores = outputs.objectness or outputs.activation == "softmax" or outputs.background == "last"
    if of_scores and not declared:
        return outputs
    where = f"{path}: '{name}' {format_shape(shape_of(value))}"
    if of_scores:
        raise BundleError(f"{where}: the file calls itself end-to-end, the detector spec describes scores; {CHOICE}")
    seen = _values(path, model, spec.input, side, name)
    table = np.concatenate([x.reshape(shape[::-1]).T if outputs.transposed else x.reshape(shape) for x in seen])
    orders = [order for columns in ORDERS.get(shape[1], ()) if (order := _fit(columns, table)) is not None]
    if declared:
        return _declared_order(where, model, outputs, orders, table)
    sure = [order.columns for order in orders if order.is_sure]
    if len(sure) == 1:
        return msgspec.structs.replace(outputs, form="end2end", columns=sure[0])
    whole = [at for at in range(4, shape[1]) if _is_whole(table[:, at]) and table[:, at].max() > 1]
    if sure or whole:
        at = f"column {whole[0]}" if whole else "a column"
        raise BundleError(f"{where}: {at} holds whole numbers, class ids by the look of it; give its columns in order: "
                          'form = "end2end" and columns = [...] under [outputs] of --detector-spec')  # fmt: skip
    # A network that finds nothing in these images fills its rows with 0 or -1: no scores, as far as they tell.
    unclear = shape[1] in ORDERS and _is_whole(table[:, 4:])
    if orders or unclear:
        raise BundleError(
            f"{where}: scores of {shape[1] - 4} classes, or a score and a class id? {CHOICE} of --detector-spec"
        )
    return outputs


def _declared_order(
    where: str, model: onnx.ModelProto, outputs: OutputSpec, orders: list[_Order], table: np.ndarray
) -> OutputSpec:
    """Return the spec of a joint tensor that is end-to-end by metadata or spec."""
    task = next((entry.value for entry in model.metadata_props if entry.key == "task"), "detect")
    if task == "obb":
        raise BundleError(f"{where}: wanted upright boxes, got a network for rotated ones (task obb)")
    columns: tuple[Column, ...] = DEFAULT_COLUMNS
    sure = [order.columns for order in orders if order.is_sure]
    if sure and columns not in sure:
        columns = sure[0]
    elif table.shape[1] == 7 and orders:
        columns = orders[0].columns
    elif not _is_whole(table[:, 5]):
        raise BundleError(
            f"{where}: wanted class ids in the sixth column of an end-to-end detector, got fractions; "
            f'{CHOICE} of --detector-spec, with columns = ["box", ...] where their order is another one'
        )
    return msgspec.structs.replace(outputs, form="end2end", columns=columns)


def _fit(columns: tuple[Column, ...], table: np.ndarray) -> _Order | None:
    """Return the order if the values of the rows fit it."""
    at, parts = 0, dict[str, np.ndarray]()
    for column in columns:
        end = at + (4 if column == "box" else 1)
        parts[column], at = table[:, at:end], end
    class_ids, scores, boxes = parts["class"], parts["score"], parts["box"]
    factors = [parts[name] for name in ("score", "objectness") if name in parts]
    in_use = class_ids[:, 0] >= 0
    if not _is_whole(class_ids) or class_ids.min() < -1 or not in_use.any():
        return None
    if any(values.min() < -1 or values.max() > 1.001 for values in factors):
        return None
    if "batch" in parts and not np.isin(parts["batch"], (-1, 0)).all():
        return None
    if not boxes.any() or _is_whole(scores[in_use]):
        return None
    return _Order(columns, bool(class_ids.max() > 1))


def _is_whole(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and (values == np.rint(values)).all())


def _needs_nms(model: onnx.ModelProto, outputs: OutputSpec, side: int) -> bool:
    """Return whether every cell of the network's head has its row, so that boxes overlap."""
    own = {entry.key: entry.value for entry in model.metadata_props}.get(NEEDS_NMS)
    if own is not None or is_end2end(model):
        return own == "yes"
    name = outputs.joint or outputs.scores
    value = next(value for value in model.graph.output if value.name == name)
    if outputs.joint:
        rows, _ = table_shape(shape_of(value), outputs.transposed) or (0, 0)
    else:
        rows = int(np.prod([dim or 1 for dim in shape_of(value)]))
    cells = [sum((side // stride) ** 2 for stride in strides) for strides in STRIDES if side % max(strides) == 0]
    return rows > MOST_KEPT or any(rows in (count, 3 * count) for count in cells)


def _values(path: Path, model: onnx.ModelProto, spec: InputSpec, side: int, name: str) -> list[np.ndarray]:
    """Return the values of an output for some images."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if any(node.op_type in QDQ_OPERATORS for node in copy.graph.node):
        float32_model(copy)  # rounding makes whole numbers of scores
    g = GraphBuilder("nanoseg/before")
    rename_tensors(copy, {"images": "detector/images"})
    name = "detector/images" if name == "images" else name
    value = copy.graph.input[0].name
    rename_tensors(copy, {value: add_input_nodes(g, copy, spec)})
    (output,) = (output for output in copy.graph.output if output.name == name)
    trial = build_model(
        "detector",
        [tensor_info("images", np.float32, (1, 3, side, side))],
        [output],
        [*g.nodes, *copy.graph.node],
        [*g.constants, *copy.graph.initializer],
    )
    session = Session(trial, str(path), BASIC)
    return [session([name], {"images": image[None]})[name].astype(np.float64) for image in example_pictures(side, 3)]
