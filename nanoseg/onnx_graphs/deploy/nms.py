"""Exact greedy class-aware NMS in fixed shapes, without the NonMaxSuppression operator.

Rows are sorted by score. M[j, i] = 1 where row j, the better one, overlaps row i of its class by more than the
threshold. `keep = relu(valid - keep @ M)`, repeated from `keep = valid`, is right for one row more a round at least,
and its only fixed point is the greedy answer. Random boxes need 1 round, dense ones 6, a pipeline of K boxes, each
overlapping the next, K - 1. So 16 rounds are unrolled, and what the last of them still changed is counted:
0 says that the answer is exact. Nothing has a shape that depends on data, so a CUDA graph can hold it all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from nanoseg.onnx_graphs.model.builder import GraphBuilder

ROUNDS = 16


class Candidates(NamedTuple):
    """Names of the tensors of K rows, best first."""

    boxes: str  # (K, 4) float32 xyxy
    scores: str  # (1, K) float32
    class_ids: str  # (K,) int64


def add_candidates(g: GraphBuilder, boxes: str, scores: str, anchors: int, classes: int, k: int) -> Candidates:
    """The best `k` pairs of anchor and class of boxes (1, A, 4) and scores (1, A, C); k is at most A * C.

    Two stages, and exact all the same: the k best pairs lie in the k anchors with the best single score.
    """
    k_anchors = min(k, anchors)
    best = g.add("ReduceMax", scores, np.array([2], np.int64), keepdims=0)
    _, chosen = g.add_top_k(best, k_anchors)
    chosen = g.add("Reshape", chosen, np.array([k_anchors], np.int64))
    table = g.add("Gather", g.add("Reshape", scores, np.array([anchors, classes], np.int64)), chosen, axis=0)
    top, flat = g.add_top_k(g.add("Reshape", table, np.array([1, k_anchors * classes], np.int64)), k)
    flat = g.add("Reshape", flat, np.array([k], np.int64))
    row = g.add("Div", flat, np.int64(classes))
    class_ids = g.add("Sub", flat, g.add("Mul", row, np.int64(classes)))
    of_anchor = g.add("Gather", g.add("Reshape", boxes, np.array([anchors, 4], np.int64)), chosen, axis=0)
    return Candidates(g.add("Gather", of_anchor, row, axis=0), top, class_ids)


def add_nms(g: GraphBuilder, rows: Candidates, k: int, confidence: str, iou: str) -> tuple[str, str]:
    """Which rows greedy NMS keeps, (1, K) float32 of 0 and 1, and how many the last round changed, () float32."""
    suppresses = _suppresses(g, rows, k, iou)
    valid = g.add("Cast", g.add("Greater", rows.scores, confidence), to=TensorProto.FLOAT)
    keep = before = valid
    for _ in range(ROUNDS):
        before, keep = keep, g.add("Relu", g.add("Gemm", keep, suppresses, valid, alpha=-1.0))
    changed = g.add("Abs", g.add("Sub", before, keep))
    return keep, g.add("ReduceSum", changed, np.array([0, 1], np.int64), keepdims=0)


def _suppresses(g: GraphBuilder, rows: Candidates, k: int, iou: str) -> str:
    """M (K, K) float32, better row by worse row."""
    sides = [g.add("Gather", rows.boxes, np.array([i], np.int64), axis=1) for i in range(4)]  # (K, 1) each
    left, top, right, bottom = sides
    to_row = np.array([1, k], np.int64)
    left_t, top_t, right_t, bottom_t = (g.add("Reshape", side, to_row) for side in sides)
    width = g.add("Sub", g.add("Min", right, right_t), g.add("Max", left, left_t))
    height = g.add("Sub", g.add("Min", bottom, bottom_t), g.add("Max", top, top_t))
    shared = g.add("Mul", g.add("Relu", width), g.add("Relu", height))
    area = g.add("Mul", g.add("Sub", right, left), g.add("Sub", bottom, top))
    union = g.add("Sub", g.add("Add", area, g.add("Reshape", area, to_row)), shared)
    # Multiplied out: a box without area has no division by zero.
    over = g.add("Greater", shared, g.add("Mul", union, iou))
    column = g.add("Reshape", rows.class_ids, np.array([k, 1], np.int64))
    same = g.add("Equal", column, g.add("Reshape", rows.class_ids, to_row))
    later = np.triu(np.ones((k, k), bool), 1)
    return g.add("Cast", g.add("And", g.add("And", over, same), later), to=TensorProto.FLOAT)
