"""The frames of `nanoseg demo`: a few seconds of each of many simulated lines."""

from __future__ import annotations

from dataclasses import replace

from nanoseg.sources.simulator.line import TEST_SEED, GroundTruth, SimulatedLine
from nanoseg.types import Frame

FRAMES_PER_LINE = 30


class DemoLines:
    """The test lines one after another, as one belt with its dozen parts would be a small sample."""

    def __init__(self) -> None:
        self._line = SimulatedLine(TEST_SEED)

    def frame(self, index: int) -> Frame:
        """Return frame `index`, counted over all lines."""
        return replace(self._line_of(index).frame(index % FRAMES_PER_LINE), index=index)

    def truth(self, index: int) -> GroundTruth:
        """Return the ground truth of that frame."""
        return self._line_of(index).truth(index % FRAMES_PER_LINE)

    def _line_of(self, index: int) -> SimulatedLine:
        seed = TEST_SEED + index // FRAMES_PER_LINE
        if self._line.seed != seed:
            self._line = SimulatedLine(seed)
        return self._line
