"""The report of a benchmark: what `nanoseg bench` writes as bench.json, and reads back to verify and compare."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import msgspec
import numpy as np

from nanoseg.benchmark.answers import Answers
from nanoseg.benchmark.latency import Series
from nanoseg.benchmark.statistics import latency_percentiles

KIND = "nanoseg bench"
FORMAT = 1


class Samples(msgspec.Struct, forbid_unknown_fields=True):
    """Latencies of one stage."""

    percentiles_ms: dict[str, float]  # p50, p90, p95, p99, max, mean
    float32_ms: str  # all of them in order, base64 of little-endian float32

    @classmethod
    def of(cls, spent_ms: Any) -> Samples:
        """Return the samples of milliseconds."""
        values = np.asarray(spent_ms, "<f4")
        return cls(latency_percentiles(values), base64.b64encode(values.tobytes()).decode())

    def values_ms(self) -> np.ndarray:
        """Return the latencies (N,) float64; raises ValueError where the text holds none."""
        try:
            return np.frombuffer(base64.b64decode(self.float32_ms, validate=True), "<f4").astype(np.float64)
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"float32_ms: {error}") from error


class Configuration(msgspec.Struct, forbid_unknown_fields=True):
    """One series of frames: of one size, with one number of objects, in one mode."""

    frame: str  # "640x480"
    objects: float  # masks of a frame: what was asked for; of a camera the mean of what was found
    mode: Literal["call", "stream", "camera"]
    began_s: float  # since the run began
    seconds: float
    frames: int
    frames_per_s: float
    stages: dict[str, Samples]  # by stage, "end_to_end" of calls, "interval" of streams, "age" of cameras
    windows_ms: list[float]  # medians of successive eighths of the whole's latencies
    stable: bool  # whether the last three windows are within 10 %
    watts: float | None = None
    joules_per_frame: float | None = None
    joules_per_frame_above_idle: float | None = None
    estimate_ms: dict[str, float] | None = None  # of some stages alone: estimated, not measured

    @property
    def title(self) -> str:
        """Return `640x480, 4 objects, call`."""
        return f"{self.frame}, {self.objects:g} object{'s' * (self.objects != 1)}, {self.mode}"

    @property
    def whole(self) -> Samples:
        """The latencies of whole frames: end to end, from one to the next of a stream, or a camera's frames' age."""
        return self.stages[whole_stage(self.mode)]


class Report(msgspec.Struct, forbid_unknown_fields=True):
    """A run of `nanoseg bench`."""

    kind: str
    format: int
    made_at: str  # ISO 8601, UTC
    valid: bool
    reasons: list[str]  # why it is not valid
    notes: list[str]  # what else to know
    quick: bool  # fewer frames than MLPerf asks for
    queries: int  # least number of frames of a configuration
    backend: str
    device: str
    answers: Answers
    bundle: dict[str, Any]
    engines: list[dict[str, Any]]  # records of those that ran
    environment: dict[str, Any]
    memory: dict[str, float | None]
    board: dict[str, Any]  # readings over time
    configurations: list[Configuration]
    sha256: str = ""  # over all the rest


def whole_stage(mode: str) -> str:
    """Return the stage that stands for whole frames in a mode."""
    return {"call": "end_to_end", "stream": "interval", "camera": "age"}[mode]


def make_configuration(series: Series, frame: str, objects: float, began_s: float) -> Configuration:
    """Return the entry of a measured series."""
    windows, stable = windows_of(np.asarray(series.spent_ms[whole_stage(series.mode)], np.float64))
    return Configuration(
        frame=frame,
        objects=float(objects),
        mode=series.mode,
        began_s=round(began_s, 3),
        seconds=round(series.seconds, 3),
        frames=len(series.objects),
        frames_per_s=round(series.frames_per_s, 3),
        stages={stage: Samples.of(spent_ms) for stage, spent_ms in series.spent_ms.items()},
        windows_ms=[round(each, 4) for each in windows],
        stable=stable,
    )


WINDOWS, LAST, WITHIN = 8, 3, 0.10


def windows_of(spent_ms: np.ndarray) -> tuple[list[float], bool]:
    """Return the medians of eight successive windows, and whether the last three are within 10 % of each other."""
    medians = [float(np.median(window)) for window in np.array_split(spent_ms, WINDOWS) if len(window)]
    last = medians[-LAST:]
    return medians, len(last) == LAST and max(last) <= (1 + WITHIN) * min(last)
