"""Finds a detector's boxes and scores among its outputs by their shapes."""

from __future__ import annotations

from pathlib import Path

import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.shapes import FLOATS, dtype_of, format_shape, shape_of

# What may stand between a Sigmoid and the output that is its result.
_MOVES = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_ASK = "name them in --detector-spec SPEC.toml"


def infer_boxes_and_scores(path: Path, model: onnx.ModelProto) -> tuple[str, str]:
    """Names of the outputs (1, A, 4) and (1, A, C); raises BundleError where none or several pairs could be meant.

    Exports of YOLO-NAS for training give the logits, too, and distances in bins: of several that could be the
    scores, the one that comes out of a Sigmoid is meant.
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
    if pairs:
        raise BundleError(f"{path}: wanted boxes (1, A, 4) and scores (1, A, C), got several: {got}; {_ASK}")
    raise BundleError(f"{path}: wanted boxes (1, A, 4) and scores (1, A, C), got {got}; if they are in there, {_ASK}")


def _is_sigmoid(model: onnx.ModelProto, name: str) -> bool:
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in _MOVES:
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "Sigmoid"
