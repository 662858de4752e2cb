"""Results of the loop, as tests make them."""

from dataclasses import replace

import numpy as np

from nanoseg.service.result import FrameResult
from nanoseg.types import Frame
from tests.fakes.segmenter import detections


def a_result(index=0, source="belt", boxes=((10, 10, 30, 30),), regions=None, events=(), size_hw=(48, 64), shade=0):
    """Return the result of a grey frame with objects of class bolt."""
    frame = Frame(np.full((*size_hw, 3), shade, np.uint8), index, 1_700_000_000_000_000_000 + index, source)
    found = replace(detections(size_hw, boxes, [0] * len(boxes)).materialize(), age_ms=40.0)
    return FrameResult(frame, found, regions or {}, events, redacted=False)
