"""What a camera did so far: its status, and the counts that it is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nanoseg.sources.camera_clock import MediaClock, Rate

State = Literal["connecting", "live", "lost", "ended", "closed"]


@dataclass(frozen=True)
class CameraStatus:
    """What a camera did so far."""

    state: State
    description: str = ""  # what was negotiated: "1280x720 MJPG 30 fps, V4L2 by OpenCV"
    clock: str = "arrival"  # what Frame.captured_ns comes from: "source" or "arrival"
    fps: float | None = None  # measured over the last seconds
    frames: int = 0  # captured
    dropped: Mapping[str, int] = field(default_factory=dict)  # frames by reason: newer, overdue, damaged, frozen
    reconnects: int = 0
    lost_s: float = 0.0  # without frames, in all
    reason: str = ""  # why it is not live: one line
    since_s: float = 0.0  # for so long it is in this state


class CameraCounts:
    """Count what a camera's capture processes tell; one thread at a time. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        """Start before the first process."""
        self.dropped: Counter[str] = Counter()
        self._description, self._clock = "", "arrival"
        self._changes: dict[str, str] = {}  # what a return may change: "size", "description"
        self._size = ""
        self._frames = self._opens = 0
        self._counted: Counter[str] = Counter()  # of what the process counts from its start
        self._rate, self._media = Rate(), MediaClock()
        self._lost_s = 0.0
        self._lost_since_s: float | None = None

    def opened(self, value: dict[str, Any]) -> None:
        """Take what was negotiated."""
        if self._description and value["description"] != self._description:
            self._changes["description"] = value["description"]
        self._description = value["description"]
        self._opens += 1
        self._counted.pop("damaged", None)
        self._media.restart()

    def frame(self, value: dict[str, Any], now_s: float) -> tuple[int, int]:
        """Take a frame; returns its index, and its time in nanoseconds, both from 0."""
        self._rate.add(now_s)
        self._clock = value["clock"]  # a stream learns it from its first report
        self.dropped["damaged"] += self._more("damaged", value["damaged"])
        busy = self._more("busy", value["busy"])
        self.dropped["newer"] += busy
        self.overdue(value["overdue"])
        index = self._frames + busy
        self._frames = index + 1
        size, before = f"{value['width']}x{value['height']}", self._size
        self._size = size
        if before not in ("", size):
            self._changes["size"] = size
        return index, self._media.read(round(now_s * 1e9), value["media_ns"])

    def overdue(self, count: int) -> None:
        """Take the number of frames that a source with a pace left out; they are captured, and dropped."""
        more = self._more("overdue", count)
        self.dropped["overdue"] += more
        self._frames += more

    def process_ended(self) -> None:
        """Take note that the process is gone, with its counts."""
        self._counted.clear()

    def live(self, now_s: float) -> str:
        """Take note that frames come; returns what has changed, for a message."""
        changes = ", ".join(self._changes.values())
        self._changes.clear()
        if self._lost_since_s is not None:
            self._lost_s += now_s - self._lost_since_s
            self._lost_since_s = None
        return f"now {changes}" if changes else ""

    def lost(self, now_s: float) -> None:
        """Take note that no frames come."""
        if self._lost_since_s is None:
            self._lost_since_s = now_s
            self._rate.clear()

    def status(self, state: State, reason: str, now_s: float) -> CameraStatus:
        """Return the status, with what the camera adds to it."""
        lost_s = self._lost_s
        if self._lost_since_s is not None:
            lost_s += now_s - self._lost_since_s
        return CameraStatus(
            state,
            self._description,
            self._clock,
            self._rate.read(),
            self._frames,
            {name: count for name, count in self.dropped.items() if count},
            max(0, self._opens - 1),
            lost_s,
            reason,
        )

    def _more(self, name: str, count: int) -> int:
        """Return how many more of these the process has counted."""
        more, self._counted[name] = count - self._counted[name], count
        return more
