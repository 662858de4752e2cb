"""Cameras in simulated time: frames at their own rates, the newest one of each kept."""

from dataclasses import dataclass, field

import numpy as np

from nanoseg.sources.camera_status import CameraStatus
from nanoseg.types import Frame


@dataclass
class SimulatedClock:
    now_ms: float = 0.0

    def now_ns(self):
        return round(self.now_ms * 1e6)


@dataclass
class SimulatedCamera:
    """A camera that captures every `period_ms`, with its interface; frames are black."""

    name: str
    clock: SimulatedClock
    period_ms: float
    phase_ms: float = 0.0
    delay_ms: float = 0.0  # from the capture to the slot
    last: int = -1  # index of the frame that was read last
    error: None = None
    dropped: int = 0
    size_hw: tuple[int, int] = (48, 64)
    read_at: list[float] = field(default_factory=list)

    def start(self):
        return self

    def read(self, timeout_s=None):
        newest = int((self.clock.now_ms - self.phase_ms - self.delay_ms) // self.period_ms)
        if newest <= self.last:
            return None
        self.dropped += newest - self.last - 1
        self.last = newest
        captured_ns = round((self.phase_ms + newest * self.period_ms) * 1e6)
        return Frame(np.zeros((*self.size_hw, 3), np.uint8), newest, captured_ns, self.name)

    def next_ms(self):
        """When the next frame is there."""
        return self.phase_ms + self.delay_ms + (self.last + 1) * self.period_ms

    def status(self):
        return CameraStatus("live", frames=self.last + 1, dropped={"newer": self.dropped})

    def stop(self):
        pass

    def close(self):
        pass
