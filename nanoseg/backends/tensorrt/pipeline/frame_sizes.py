"""How large a frame is, and whether prepare's engine was built for it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nanoseg.backends.tensorrt.engine import TrtEngine


def frame_hw(pixels: Any) -> tuple[int, int]:
    """Height and width of an array, or of something on the GPU."""
    told = pixels if isinstance(pixels, np.ndarray) else None
    height, width = (told.shape if told is not None else pixels.__cuda_array_interface__["shape"])[:2]
    return int(height), int(width)


class FrameSizes(NamedTuple):
    """That an engine takes, from `least` to `most`; both are (height, width)."""

    least: tuple[int, int]
    most: tuple[int, int]

    @classmethod
    def of(cls, prepare: TrtEngine) -> FrameSizes:
        """Those of prepare's engine."""
        (_, *least, _), (_, *most, _) = prepare.min_shape("frame"), prepare.max_shape("frame")
        return cls((least[0], least[1]), (most[0], most[1]))

    def nearest(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """The size itself where it fits, else the one that does and is next to it."""
        ends = zip(frame_hw, self.least, self.most, strict=True)
        height, width = (min(max(side, low), high) for side, low, high in ends)
        return height, width

    def invalid_reason(self, frame_hw: tuple[int, int]) -> str:
        """What is wrong with a size for a frame on the GPU, and what to do; nothing where it fits."""
        if self.nearest(frame_hw) == frame_hw:
            return ""
        sizes = (f"{width}x{height}" for height, width in (*self, frame_hw))
        told = "built for frames of {} to {}, got {} on the GPU; an array of the host may have any size; ".format(
            *sizes
        )
        if any(side < low for side, low in zip(frame_hw, self.least, strict=True)):
            return told + (
                "for an engine that takes this one lower min of [dimensions.height] and [dimensions.width] in "
                "prepare.toml, as engines/README.md tells, and run nanoseg build"
            )
        height, width = (max(sides) for sides in zip(frame_hw, self.most, strict=True))
        return told + f"nanoseg build --bundle BUNDLE --max-frame {width}x{height} makes an engine that takes it"
