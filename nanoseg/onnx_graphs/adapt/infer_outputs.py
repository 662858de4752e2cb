"""Infer which of a detector's outputs are its boxes and scores, by their shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import OutputSpec
from nanoseg.onnx_graphs.adapt.end2end import INTEGERS, table_shape
from nanoseg.onnx_graphs.model.shapes import FLOATS, Dims, dtype_of, format_shape, shape_of

# Operators that may stand between a Sigmoid and the output.
_MOVES = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_ADVICE = "name them in --detector-spec SPEC.toml"
# Parts of names that exporters give to class ids and to scores, both (1, N).
_CLASS_IDS, _SCORES = ("class", "label", "cls", "categor"), ("score", "conf", "prob")


def infer_boxes_and_scores(path: Path, model: onnx.ModelProto) -> tuple[str, str]:
    """Return the names of the outputs (1, A, 4) and (1, A, C).

    Exports of YOLO-NAS for training have logits and binned distances, too: of several outputs with the shape of
    scores, the result of a Sigmoid is chosen.

    Raises:
        BundleError: no pair of outputs fits, or several do.
    """
    shapes = {value.name: shape_of(value) for value in model.graph.output if dtype_of(value) in FLOATS}
    pairs = [
        (boxes, scores)
        for boxes, (batch, anchors, *rest) in ((n, s) for n, s in shapes.items() if len(s) == 3)
        for scores, shape in shapes.items()
        if batch == 1 and rest == [4] and scores != boxes and len(shape) == 3 and shape[:2] == (1, anchors)
    ]
    if len(pairs) > 1:
        pairs = [pair for pair in pairs if _is_sigmoid(model, pair[1])] or pairs
    if len(pairs) == 1:
        return pairs[0]
    got = ", ".join(f"{value.name} {format_shape(shape_of(value))}" for value in model.graph.output)
    wanted = "wanted boxes (1, A, 4) and scores (1, A, C)"
    if pairs:
        raise BundleError(f"{path}: {wanted}, got several: {got}; {_ADVICE}")
    raise BundleError(f"{path}: {wanted}, got {got}; if they are in there, {_ADVICE}")


def infer_rows(path: Path, model: onnx.ModelProto) -> OutputSpec | None:
    """Return the outputs of an end-to-end detector in tensors of their own; None where there are none such.

    They are boxes (1, N, 4), scores (1, N) and class ids (1, N), and mostly a count; or MMDeploy's boxes with
    scores (1, N, 5) and class ids. Names tell scores from class ids, or the class ids' integer type does.

    Raises:
        BundleError: there are such outputs, but which is which is unclear.
    """
    values = {value.name: value for value in model.graph.output}
    tables = {name: table_shape(shape_of(value), False) for name, value in values.items()}
    integers = [name for name, value in values.items() if dtype_of(value) in INTEGERS]
    joint = [name for name, shape in tables.items() if shape and shape[1] == 5 and dtype_of(values[name]) in FLOATS]
    is_pair = len(values) == 2 and len(joint) == len(integers) == 1
    if is_pair and _length(shape_of(values[integers[0]])) == (tables[joint[0]] or (0, 0))[0]:
        return OutputSpec(form="end2end", joint=joint[0], class_ids=integers[0])
    boxes = [name for name, shape in tables.items() if shape and shape[1] == 4 and dtype_of(values[name]) in FLOATS]
    if len(boxes) != 1:
        return None
    rows = (tables[boxes[0]] or (0, 0))[0]
    lists = [name for name, value in values.items() if name != boxes[0] and _length(shape_of(value)) == rows]
    counts = [
        name
        for name, value in values.items()
        if name not in (*boxes, *lists) and _length(shape_of(value)) == 1 and dtype_of(value) in INTEGERS
    ]
    if len(lists) < 2:
        return None
    ids = [name for name in lists if dtype_of(values[name]) in INTEGERS] or _named(lists, _CLASS_IDS)
    scores = [name for name in lists if name not in ids and dtype_of(values[name]) in FLOATS]
    if len(scores) > 1:
        scores = _named(scores, _SCORES)
    if len(ids) != 1 or len(scores) != 1:
        raise BundleError(
            f"{path}: wanted boxes, scores and class ids of an end-to-end detector, got {', '.join(values)}; "
            "name boxes, scores and class_ids under [outputs] of --detector-spec"
        )
    return OutputSpec(
        form="end2end", boxes=boxes[0], scores=scores[0], class_ids=ids[0], count=counts[0] if counts else None
    )


def _length(shape: Dims) -> int:
    """Return the length of a list, (N,), (1, N) or (1, N, 1); 0 for another shape."""
    inner = [dim for dim in shape if dim != 1]
    if not shape or None in inner or len(inner) > 1:
        return int(not shape)
    return int(np.prod(np.array(inner, np.int64)))


def _named(names: list[str], parts: tuple[str, ...]) -> list[str]:
    return [name for name in names if any(part in name.lower() for part in parts)]


def _is_sigmoid(model: onnx.ModelProto, name: str) -> bool:
    producers = {output: node for node in model.graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in _MOVES:
        node = producers.get(node.input[0])
    return node is not None and node.op_type == "Sigmoid"
