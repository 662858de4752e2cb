"""Rates, latencies and ages of the last seconds, for the page."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from nanoseg.service.result import FrameResult
from nanoseg.utils.timing import percentiles

WINDOW_S = 5.0


class Recent:
    """The frames of the last WINDOW_S seconds."""

    def __init__(self) -> None:
        """Start without a frame."""
        self._lock = threading.Lock()
        self._frames: deque[tuple[float, str, dict[str, float], float]] = deque(maxlen=2000)

    def add(self, result: FrameResult) -> None:
        """Count a frame that was segmented."""
        found = result.objects
        with self._lock:
            self._frames.append((time.monotonic(), result.source, dict(found.latency_ms), found.age_ms or 0.0))

    def read(self) -> dict[str, Any]:
        """Return `fps`, `fps_by_source`, `stages_ms` {stage: p50}, `age_ms` {p50, p99}, `age_by_source`."""
        start_s = time.monotonic() - WINDOW_S
        with self._lock:
            while self._frames and self._frames[0][0] < start_s:
                self._frames.popleft()
            frames = list(self._frames)
        stages: dict[str, list[float]] = {}
        ages: dict[str, list[float]] = {}
        for _, source, latency_ms, age_ms in frames:
            ages.setdefault(source, []).append(age_ms)
            for stage, spent_ms in latency_ms.items():
                stages.setdefault(stage, []).append(spent_ms)
        every = [age_ms for values in ages.values() for age_ms in values]
        return {
            "fps": round(len(frames) / WINDOW_S, 2),
            "fps_by_source": {source: round(len(values) / WINDOW_S, 2) for source, values in ages.items()},
            "stages_ms": {stage: round(percentiles(values)["p50"], 2) for stage, values in stages.items()},
            "age_ms": {name: round(value, 1) for name, value in percentiles(every).items() if name != "p95"},
            "age_by_source": {source: round(percentiles(values)["p50"], 1) for source, values in ages.items()},
        }
