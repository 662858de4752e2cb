"""Fold what a network computes from shapes alone, where TensorRT needs that."""

from __future__ import annotations

import numpy as np
import onnx

from nanoseg.errors import needs
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS
from nanoseg.onnx_graphs.model.run import nearly_equal, run_model
from nanoseg.onnx_graphs.model.shapes import random_feeds, shape_of

# TensorRT implements none of these, or not where shapes depend on data.
UNSUPPORTED_OPERATORS = frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "OneHot", "Scan", "Unique"})

# SAM's position encoding of the grid is larger and stays the few nodes that compute it: a third of the file less.
FOLD_LIMIT_BYTES = 300_000


def unsupported_operators(model: onnx.ModelProto) -> list[str]:
    """Return the operators of a graph that no TensorRT builds; ONNX Runtime runs them."""
    return sorted(_operators(model) & UNSUPPORTED_OPERATORS)


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network as onnxslim folds it where it needs that and its outputs stay the same, else unchanged.

    It needs that where it holds operators that TensorRT lacks (SAM's own export: OneHot), or computes with shapes
    though all its inputs are fixed (a detector exported with a dynamic batch). A quantized network stays as it is.
    """
    operators = _operators(model)
    fixed = all(None not in shape_of(value) for value in model.graph.input)
    if operators & QDQ_OPERATORS or not (operators & UNSUPPORTED_OPERATORS or (fixed and "Shape" in operators)):
        return model
    with needs("onnxslim", "bundle"):
        import onnxslim
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        slim: onnx.ModelProto = onnxslim.slim(copy, size_threshold=FOLD_LIMIT_BYTES)
        if _interface(slim) != _interface(model) or not _has_same_outputs(model, slim):
            return model
    except Exception:  # of any type; the unchanged network is valid, or its own error is raised later
        return model
    # The shapes of what has been folded are inferred again.
    for output in slim.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    return slim


def _operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def _interface(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    return [value.name for value in model.graph.input], [value.name for value in model.graph.output]


def _has_same_outputs(one: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    for dynamic_dim in (2, 3):
        feeds = random_feeds(one, dynamic_dim)
        wanted, got = run_model(one, feeds), run_model(other, feeds)
        for name, want in wanted.items():
            limit = 1e-4 * max(1.0, float(np.abs(want).max(initial=0)))
            if not nearly_equal(want, got[name], 1e-3, limit):
                return False
    return True
