"""Folds what a network computes from shapes alone, where that makes it fit for TensorRT."""

from __future__ import annotations

import numpy as np
import onnx

from nanoseg.errors import needs
from nanoseg.onnx_graphs.model.run import run_model
from nanoseg.onnx_graphs.model.shapes import shape_of, some_feeds

# TensorRT implements none of these, or not where shapes depend on data.
NOT_IN_TENSORRT = frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "OneHot", "Scan", "Unique"})
# What was quantized elsewhere stays as it was trained.
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear"})

# SAM's position encoding of the grid is larger, and stays the few nodes that compute it: a third of the file less.
FOLD_LIMIT_BYTES = 300_000


def not_in_tensorrt(model: onnx.ModelProto) -> list[str]:
    """Operators of a graph that no TensorRT builds; ONNX Runtime runs them all the same."""
    return sorted(_operators(model) & NOT_IN_TENSORRT)


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network as onnxslim folds it where it needs that and answers the same afterwards, else as it came.

    It needs that where it holds operators that TensorRT lacks (SAM's own export: OneHot), or computes with shapes
    though all its inputs are fixed (a detector exported with a dynamic batch).
    """
    operators = _operators(model)
    fixed = all(None not in shape_of(value) for value in model.graph.input)
    if operators & QUANTIZED or not (operators & NOT_IN_TENSORRT or (fixed and "Shape" in operators)):
        return model
    with needs("onnxslim", "bundle"):
        import onnxslim
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        slim: onnx.ModelProto = onnxslim.slim(copy, size_threshold=FOLD_LIMIT_BYTES)
        if _names(slim) != _names(model) or not _same_answers(model, slim):
            return model
    except Exception:  # whatever it stumbles on: the network as it came is whole, or its own error is told later
        return model
    # The shapes of what is folded now are still to be found out.
    for output in slim.graph.output:
        for side in output.type.tensor_type.shape.dim:
            side.ClearField("dim_param")
    return slim


def _operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def _names(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    return [value.name for value in model.graph.input], [value.name for value in model.graph.output]


def _same_answers(one: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    for free in (2, 3):
        feeds = some_feeds(one, free)
        wanted, got = run_model(one, feeds), run_model(other, feeds)
        for name, want in wanted.items():
            limit = 1e-4 * max(1.0, float(np.abs(want).max(initial=0)))
            if want.shape != got[name].shape or not np.allclose(want, got[name], rtol=1e-3, atol=limit):
                return False
    return True
