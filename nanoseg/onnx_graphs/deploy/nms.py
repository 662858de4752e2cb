"""Exact greedy NMS in fixed shapes, by class or across classes, without the NonMaxSuppression operator.

Rows are sorted by score. M[j, i] = 1 where row j, the one with the higher score, overlaps row i, by class one of its
class, by more than the threshold. `keep = relu(valid - keep @ M)`, iterated from `keep = valid`, is correct for at
least one more row in each round, and its only fixed point is the result of greedy NMS. Random boxes need 1 round, dense
ones 6, a row of K boxes, each overlapping the next, K - 1. So 16 rounds are unrolled, and the changes of the last round
are counted: 0 means that the result is exact. No shape depends on data, so that a CUDA graph can capture it all.

More than 512 rows are done in tiles, best first: what earlier tiles keep drops rows of a tile once, then the rounds run
within it. A tile's matrix (1 MB) stays in the cache of a GPU, which that of 1,024 rows (4 MB) does not in a Jetson's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from nanoseg.onnx_graphs.model.builder import GraphBuilder
from nanoseg.processing.nms import NmsKind

ROUNDS = 16  # in each tile
TILE = 512  # rows


class Candidates(NamedTuple):
    """Names of the tensors of K rows, in descending order of score."""

    boxes: str  # (K, 4) float32 xyxy
    scores: str  # (1, K) float32
    class_ids: str  # (K,) int64
    keypoints: str | None = None  # (K, 3 J) float32


def add_candidates(
    g: GraphBuilder,
    boxes: str,
    scores: str,
    anchors: int,
    classes: int,
    k: int,
    keypoints: str | None = None,
    numbers: int = 0,
) -> Candidates:
    """Append the choice of the best pairs of anchor and class.

    It is done in two stages and exact all the same: the k best pairs lie in the k anchors with the best single score.

    Args:
        g: the graph to append to.
        boxes: name of (1, A, 4) float32.
        scores: name of (1, A, C) float32.
        anchors: A.
        classes: C.
        k: number of pairs, at most A * C.
        keypoints: name of (1, A, J, 3) float32, where there are any.
        numbers: 3 J.

    Returns:
        Names of the rows' tensors.
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

    def of_rows(values: str, columns: int) -> str:
        of_anchor = g.add("Gather", g.add("Reshape", values, np.array([anchors, columns], np.int64)), chosen, axis=0)
        return g.add("Gather", of_anchor, row, axis=0)

    return Candidates(of_rows(boxes, 4), top, class_ids, None if keypoints is None else of_rows(keypoints, numbers))


def add_rows(g: GraphBuilder, boxes: str, scores: str, class_ids: str, anchors: int, k: int) -> Candidates:
    """Append the choice of the best rows of a detector whose rows have one class each.

    Args:
        g: the graph to append to.
        boxes: name of (1, A, 4) float32.
        scores: name of (1, A) float32.
        class_ids: name of (1, A) float32.
        anchors: A.
        k: number of rows, at most A.

    Returns:
        Names of the rows' tensors.
    """
    top, chosen = g.add_top_k(scores, k)
    chosen = g.add("Reshape", chosen, np.array([k], np.int64))
    boxes = g.add("Gather", g.add("Reshape", boxes, np.array([anchors, 4], np.int64)), chosen, axis=0)
    class_ids = g.add("Gather", g.add("Reshape", class_ids, np.array([anchors], np.int64)), chosen, axis=0)
    return Candidates(boxes, top, g.add("Cast", class_ids, to=TensorProto.INT64))


def add_nms(
    g: GraphBuilder, rows: Candidates, k: int, confidence: str, iou: str, kind: NmsKind = "by-class"
) -> tuple[str, str]:
    """Append greedy NMS.

    Args:
        g: the graph to append to.
        rows: the candidates.
        k: number of candidates.
        confidence: name of the score threshold, a scalar.
        iou: name of the overlap threshold, a scalar.
        kind: whether a row is dropped by better ones of its class, or of any.

    Returns:
        Names of the kept rows, (1, K) float32 of 0 and 1, and of the number that the last round changed, () float32.
    """
    valid = g.add("Cast", g.add("Greater", rows.scores, confidence), to=TensorProto.FLOAT)
    kept: list[str] = []
    changes: list[str] = []
    tiles = [(start, min(start + TILE, k)) for start in range(0, k, TILE)]
    parts = [_part(g, rows, *tile, k, kind) for tile in tiles]
    for number, ((start, stop), part) in enumerate(zip(tiles, parts, strict=True)):
        alive = valid if len(tiles) == 1 else _slice(g, valid, start, stop, axis=1)
        for keep, better in zip(kept, parts[:number], strict=True):
            dropped_by = g.add("Cast", _overlaps(g, better, part, iou), to=TensorProto.FLOAT)
            alive = g.add("Relu", g.add("Gemm", keep, dropped_by, alive, alpha=-1.0))
        rank = np.arange(part.size, dtype=np.float32)
        later = g.add("Less", rank[:, None], rank[None])
        within = g.add("Cast", g.add("And", _overlaps(g, part, part, iou), later), to=TensorProto.FLOAT)
        keep = before = alive
        for _ in range(ROUNDS):
            before, keep = keep, g.add("Relu", g.add("Gemm", keep, within, alive, alpha=-1.0))
        kept.append(keep)
        changes.append(g.add("Abs", g.add("Sub", before, keep)))
    changed = _join(g, changes)
    return _join(g, kept), g.add("ReduceSum", changed, np.array([0, 1], np.int64), keepdims=0)


class _Part(NamedTuple):
    """Rows of a tile: tensors (n, 1), the sides left, top, right and bottom, the area, and by class the class."""

    sides: list[str]
    area: str
    class_id: str | None
    size: int


def _part(g: GraphBuilder, rows: Candidates, start: int, stop: int, k: int, kind: NmsKind) -> _Part:
    def of_tile(values: str) -> str:
        return values if stop - start == k else _slice(g, values, start, stop, axis=0)

    boxes = of_tile(rows.boxes)
    class_ids = of_tile(rows.class_ids) if kind == "by-class" else None
    sides = [g.add("Gather", boxes, np.array([i], np.int64), axis=1) for i in range(4)]
    left, top, right, bottom = sides
    area = g.add("Mul", g.add("Sub", right, left), g.add("Sub", bottom, top))
    column = np.array([stop - start, 1], np.int64)
    return _Part(sides, area, None if class_ids is None else g.add("Reshape", class_ids, column), stop - start)


def _overlaps(g: GraphBuilder, better: _Part, part: _Part, iou: str) -> str:
    """Append a (n, m) bool: whether n boxes with higher scores overlap m, by class of theirs, by more than `iou`."""
    left, top, right, bottom = better.sides
    to_row = np.array([1, part.size], np.int64)
    left_t, top_t, right_t, bottom_t = (g.add("Reshape", side, to_row) for side in part.sides)
    width = g.add("Sub", g.add("Min", right, right_t), g.add("Max", left, left_t))
    height = g.add("Sub", g.add("Min", bottom, bottom_t), g.add("Max", top, top_t))
    shared = g.add("Mul", g.add("Relu", width), g.add("Relu", height))
    union = g.add("Sub", g.add("Add", better.area, g.add("Reshape", part.area, to_row)), shared)
    # Multiplied out: a box without area has no division by zero.
    over = g.add("Greater", shared, g.add("Mul", union, iou))
    if better.class_id is None or part.class_id is None:
        return over
    return g.add("And", over, g.add("Equal", better.class_id, g.add("Reshape", part.class_id, to_row)))


def _slice(g: GraphBuilder, value: str, start: int, stop: int, axis: int) -> str:
    return g.add("Slice", value, *(np.array([each], np.int64) for each in (start, stop, axis)))


def _join(g: GraphBuilder, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else g.add("Concat", *parts, axis=1)
