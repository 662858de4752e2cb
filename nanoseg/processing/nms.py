"""Greedy class-aware non-maximum suppression on the host: what detect.onnx left undone, and its oracle."""

from __future__ import annotations

import numpy as np


def finish(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, confidence: float, iou: float) -> np.ndarray:
    """Rows that greedy NMS keeps, as int64 indices by falling score; of equal scores the earlier row goes first.

    `boxes` (K, 4) xyxy in any one unit, `scores` and `class_ids` (K,). A row takes part above `confidence` and is
    dropped where a kept row of its class overlaps it by more than `iou` (intersection over union).
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > np.float32(confidence)]
    left, top, right, bottom = boxes[order].astype(np.float32).T
    classes, threshold = class_ids[order], np.float32(iou)
    area = (right - left) * (bottom - top)
    alive = np.ones(len(order), bool)
    kept = []
    for row in range(len(order)):
        if not alive[row]:
            continue
        kept.append(order[row])
        after = slice(row + 1, None)
        width = np.minimum(right[row], right[after]) - np.maximum(left[row], left[after])
        height = np.minimum(bottom[row], bottom[after]) - np.maximum(top[row], top[after])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        # Multiplied out, as in the graph: a box without area has no division by zero.
        over = shared > threshold * (area[row] + area[after] - shared)
        alive[after] &= ~(over & (classes[after] == classes[row]))
    return np.array(kept, np.int64)
