"""Boxes to evaluate, by hand."""

from types import SimpleNamespace

import numpy as np


def boxes(xyxy=(), class_id=(), confidence=()):
    return SimpleNamespace(
        xyxy=np.array(xyxy, np.float32).reshape(-1, 4),
        class_id=np.array(class_id, np.int64),
        confidence=np.array(confidence, np.float32),
    )


A, B, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 400, 450, 450]
NEAR_A = [0, 0, 100, 80]  # IoU 0.80 with A: right at 7 of COCO's 10 thresholds
