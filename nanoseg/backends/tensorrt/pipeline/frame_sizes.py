"""The frame sizes that prepare's engine was built for."""

from __future__ import annotations

from typing import NamedTuple

from nanoseg.backends.tensorrt.engine import TrtEngine


class FrameSizes(NamedTuple):
    """The smallest and the largest (height, width) of frames that an engine takes."""

    minimum: tuple[int, int]
    maximum: tuple[int, int]

    @classmethod
    def of(cls, prepare: TrtEngine | None) -> FrameSizes:
        """Return the frame sizes of prepare's engine: none at all where there is no engine."""
        if prepare is None:
            return cls((0, 0), (0, 0))
        (_, *minimum, _), (_, *maximum, _) = prepare.min_shape("frame"), prepare.max_shape("frame")
        return cls((minimum[0], minimum[1]), (maximum[0], maximum[1]))

    def nearest(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size itself where the engine takes it, else the nearest one that it takes."""
        ends = zip(frame_hw, self.minimum, self.maximum, strict=True)
        height, width = (min(max(side, low), high) for side, low, high in ends)
        return height, width

    def invalid_reason(self, frame_hw: tuple[int, int]) -> str:
        """Return why the engine does not take a frame of this size on the GPU, and what to do; "" where it does."""
        if self.nearest(frame_hw) == frame_hw:
            return ""
        if self.maximum == (0, 0):
            return "a frame on the GPU wants its engine, of which there is none here; an array of the host does not"
        sizes = (f"{width}x{height}" for height, width in (*self, frame_hw))
        reason = "built for frames of {} to {}, got {} on the GPU; an array of the host may have any size; ".format(
            *sizes
        )
        if any(side < low for side, low in zip(frame_hw, self.minimum, strict=True)):
            return reason + (
                "for an engine that takes this one lower min of [dimensions.height] and [dimensions.width] in "
                "prepare.toml (see engines/README.md) and run nanoseg build"
            )
        height, width = (max(sides) for sides in zip(frame_hw, self.maximum, strict=True))
        return reason + f"nanoseg build --bundle BUNDLE --max-frame {width}x{height} makes an engine that takes it"
