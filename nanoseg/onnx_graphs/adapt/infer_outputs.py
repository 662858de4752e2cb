"""Infer which of a detector's outputs are its boxes and scores, by their shapes."""

from __future__ import annotations

from pathlib import Path

import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.shapes import FLOATS, dtype_of, format_shape, shape_of

# Operators that may stand between a Sigmoid and the output.
_MOVES = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_ADVICE = "name them in --detector-spec SPEC.toml"


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


def _is_sigmoid(model: onnx.ModelProto, name: str) -> bool:
    producers = {output: node for node in model.graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in _MOVES:
        node = producers.get(node.input[0])
    return node is not None and node.op_type == "Sigmoid"
