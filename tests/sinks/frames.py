"""Frames to write, and what lies in a folder afterwards."""

import numpy as np

from nanoseg.types import Frame
from tests.fakes.segmenter import nut_in_upper_left


def frame(index=0, name="", size_hw=(48, 64), level=0):
    return Frame(np.full((*size_hw, 3), level, np.uint8), index, 1_700_000_000_000_000_000 + index, name)


def write_frames(sink, count=3):
    """Write that many frames, each with one object."""
    for index in range(count):
        one = frame(index, f"{index}.png", level=40 * index)
        sink.write(one, nut_in_upper_left(one), one.image)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_one(sink, name="x.png"):
    one = frame(0, name)
    with sink as opened:
        opened.write(one, nut_in_upper_left(one), one.image)
