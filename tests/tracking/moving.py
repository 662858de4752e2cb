"""Objects that move in a straight line, as detections, and a segmenter that sees them."""

from types import SimpleNamespace

import numpy as np

from nanoseg.types import Frame
from tests.fakes.segmenter import detections

FRAME_HW = (240, 320)


def a_frame(index=0, name="belt", fps=30.0, size_hw=FRAME_HW):
    return Frame(np.zeros((*size_hw, 3), np.uint8), index, 1, name, None if fps is None else int(index / fps * 1e9))


def moving(starts, speeds, side=40):
    """Return what gives the boxes (n, 4) of squares at a frame's index."""

    def boxes(index):
        corner = np.array(starts, np.float64) + np.array(speeds) * index
        return np.concatenate([corner, corner + side], 1)

    return boxes


def seen(boxes, confidence=(), frame_hw=FRAME_HW):
    """Return detections of boxes, clipped to the frame."""
    height, width = frame_hw
    clipped = np.clip(np.array(boxes, np.float64).reshape(-1, 4), 0, (width, height, width, height))
    return detections(frame_hw, clipped, [0] * len(clipped), confidence)


class Seeing:
    """A segmenter to which `boxes(index)` are visible: it detects them all, and segments what is under a prompt."""

    max_objects = None

    def __init__(self, boxes):
        self.boxes, self.calls = boxes, []

    def __call__(self, frame, *, max_objects=None):
        self.calls.append("detect")
        return seen(self.boxes(frame.index)[:max_objects], frame_hw=frame.size_hw)

    def stream(self, frames):
        for frame in frames:
            yield frame, self(frame)

    def embed(self, frame):
        self.calls.append("embed")
        found = seen(self.boxes(frame.index), frame_hw=frame.size_hw)
        return SimpleNamespace(handle=found, geometry=found.masks.geometry)

    @property
    def pipeline(self):
        return self

    def box_masks(self, handle, geometry, prompts, *, own, on_embedded):
        """Each prompt gets the mask of the object whose centre is nearest to its own."""

        def centre(boxes):
            return (boxes[:, :2] + boxes[:, 2:]) / 2

        apart = np.hypot(*(centre(prompts)[:, None] - centre(handle.xyxy)).transpose(2, 0, 1))
        return handle.masks.logits[apart.argmin(1)][:, None], np.ones((len(prompts), 1), np.float32)
