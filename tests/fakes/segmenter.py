"""A fake segmenter that returns given detections."""

from types import SimpleNamespace

import numpy as np

from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from nanoseg.types import Detections, Frame

GRID = 32  # the logits are 4 * GRID a side


def detections(
    frame_hw, boxes=(), class_ids=(), confidence=(), labels=("bolt", "nut", "gear"), masks=None, latency_ms=None
):
    """Return detections whose masks are their boxes, or `masks` (n, H, W) bool in the resolution of the logits."""
    height, width = frame_hw
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    geometry = Geometry.of((height, width), 320, 320, 16 * GRID)
    (sx, sy), _ = geometry.cells(4 * GRID)
    cell = (np.arange(4 * GRID) + 0.5)[None]
    across, down = np.minimum(cell / sx, width - 1), np.minimum(cell / sy, height - 1)
    logits = np.full((len(xyxy), 4 * GRID, 4 * GRID), -1, np.float32)
    for i, (left, top, right, bottom) in enumerate(xyxy):
        if masks is None:
            inside = ((across > left) & (across < right)) & ((down > top) & (down < bottom)).T
        else:
            inside = masks[i][down[0].astype(int)[:, None], across[0].astype(int)]
        logits[i][inside] = 1
    class_id = np.array(class_ids, np.int64).reshape(-1)
    sure = np.array(confidence if len(confidence) else np.ones(len(xyxy)), np.float32)
    return Detections(
        xyxy=xyxy,
        confidence=sure,
        class_id=class_id,
        class_name=np.array(labels)[class_id],
        mask_confidence=sure,
        masks=Masks(logits, sure, geometry, xyxy),
        latency_ms=latency_ms or {"prepare": 1.0, "detect": 2.0, "embed": 3.0, "segment": 4.0, "total": 10.0},
    )


class FakeSegmenter:
    """Segmenter whose detections are `find(frame)`; records its frames and whether it was closed."""

    backend, device, max_objects = "onnxruntime", "CPU, 2 threads", None

    def __init__(self, find, labels=("bolt", "nut", "gear")):
        self.find, self.bundle = find, SimpleNamespace(path="fake", labels=tuple(labels))
        self.frames: list[Frame] = []
        self.closed = False

    def __call__(self, frame, **_):
        self.frames.append(frame)
        return self.find(frame)

    def stream(self, frames, **_):
        """Yield detections as on a GPU: one frame is read ahead."""
        before = []
        try:
            for frame in frames:
                before.append((frame, self(frame)))
                if len(before) == 2:
                    yield before.pop(0)
        except Exception:
            yield from before
            raise
        yield from before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Record it."""
        self.closed = True


def nut_in_upper_left(frame):
    """Return one nut in the upper left quarter of the frame."""
    height, width = frame.size_hw
    return detections((height, width), [[0, 0, width / 2, height / 2]], [1], [0.9])
