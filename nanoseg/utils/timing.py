"""Latency of the stages of a frame, and percentiles over many frames."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

PERCENTILES = (50, 95, 99)


def frame_age_ms(captured_ns: int, now_ns: int) -> float:
    """Return the milliseconds since a frame was captured; 0 where the clock was set back meanwhile."""
    return max(0.0, (now_ns - captured_ns) / 1e6)


class Stopwatch:
    """Latency of one frame by stage, in milliseconds; a stage that did not run has no entry."""

    def __init__(self) -> None:
        self.latency_ms: dict[str, float] = {}
        self._started_ns = self._lap_ns = time.perf_counter_ns()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside; a stage entered twice is the sum."""
        started_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self._add(name, time.perf_counter_ns() - started_ns)

    def lap(self, name: str) -> None:
        """End a stage that began at the end of the last one, or when the watch was created or resumed."""
        now_ns = time.perf_counter_ns()
        self._add(name, now_ns - self._lap_ns)
        self._lap_ns = now_ns

    def resume(self) -> None:
        """Begin the next stage: the time since the end of the last one belongs to none."""
        self._lap_ns = time.perf_counter_ns()

    def stop(self) -> dict[str, float]:
        """Add `total`, the milliseconds since this stopwatch was created, and return all stages."""
        self.latency_ms["total"] = (time.perf_counter_ns() - self._started_ns) / 1e6
        return self.latency_ms

    def _add(self, name: str, spent_ns: int) -> None:
        self.latency_ms[name] = self.latency_ms.get(name, 0.0) + spent_ns / 1e6


class Latencies:
    """Latencies of many frames by stage, in eight bytes a frame and stage."""

    def __init__(self) -> None:
        self._by_stage: dict[str, array[float]] = {}

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Add the milliseconds of one frame by stage."""
        for stage, spent_ms in latency_ms.items():
            self._by_stage.setdefault(stage, array("d")).append(spent_ms)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return `{stage: {"p50": ms, "p95": ms, "p99": ms}}`, over the frames on which the stage ran."""
        return {stage: percentiles(spent_ms) for stage, spent_ms in self._by_stage.items()}


def percentiles(spent_ms: array[float] | list[float]) -> dict[str, float]:
    """Return `{"p50": ..., "p95": ..., "p99": ...}` by linear interpolation, as numpy does; empty for no values."""
    if not len(spent_ms):
        return {}
    values = np.percentile(np.asarray(spent_ms, np.float64), PERCENTILES)
    return {f"p{percent}": round(float(value), 3) for percent, value in zip(PERCENTILES, values, strict=True)}
