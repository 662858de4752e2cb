"""What `nanoseg run` tells of live sources: a line while it runs, a summary or a JSON document at its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from nanoseg.commands.live_loop import FINISHED, LiveTally
from nanoseg.sinks.live import LiveSinks
from nanoseg.sources.camera_status import CameraStatus
from nanoseg.utils.terminal import format_rate, plural
from nanoseg.utils.text import printable

PERCENTS = (50, 95, 99)  # of the stages, as for files

Statuses = Mapping[str, CameraStatus]


@dataclass
class LiveReport:
    """What a run of live sources did."""

    tally: LiveTally
    sources: Statuses
    sinks: LiveSinks
    seconds: float
    interrupted: bool

    def dropped(self) -> dict[str, int]:
        """Return frames by the reason for which no pipeline saw them."""
        dropped = Counter[str]()
        for status in self.sources.values():
            dropped.update({reason: number for reason, number in status.dropped.items() if number})
        return dict(dropped)

    def document(self, urls: Mapping[str, str]) -> dict[str, Any]:
        """Return what --json prints; `urls` are the sources by name."""
        tally = self.tally
        return {
            "sources": [self._source(name, status, urls[name]) for name, status in self.sources.items()],
            "frames": tally.frames,
            "objects": tally.objects,
            "classes": dict(tally.classes.most_common()),
            "interrupted": self.interrupted,
            "fps": round(tally.frames / self.seconds, 2) if self.seconds else 0.0,
            "latency_ms": {
                stage: {name: value for name, value in spent.summary(PERCENTS).items() if name != "max"}
                for stage, spent in tally.stages.items()
            },
            "age_ms": {
                **{stage: ages.summary() for stage, ages in tally.ages.items()},
                "written": {sink.name: sink.ages_ms.summary() for sink in self.sinks.all},
            },
            "dropped": self.dropped(),
            "shed": dict(tally.shed),
            "sinks": {sink.name: {"written": sink.written, "dropped": sink.dropped} for sink in self.sinks.all},
        }

    def _source(self, name: str, status: CameraStatus, url: str) -> dict[str, Any]:
        return {
            "name": name,
            "source": printable(url),
            "state": status.state,
            "description": status.description,
            "clock": status.clock,
            "captured": status.frames,
            "segmented": self.tally.by_source[name],
            "dropped": dict(status.dropped),
            "reconnects": status.reconnects,
            "lost_s": round(status.lost_s, 3),
            "reason": status.reason,
        }

    def summary(self, objects: str) -> str:
        """Return the last line without its outputs: `240 frames, OBJECTS, 12.1 frames/s, age p50 84 ms ...`."""
        tally = self.tally
        parts = [plural(tally.frames, "frame"), objects]
        if tally.frames and self.seconds:
            ages = tally.ages[FINISHED]
            parts.append(format_rate(tally.frames / self.seconds))
            parts.append(f"age p50 {ages.percentile(50):.0f} ms, p99 {ages.percentile(99):.0f} ms")
        parts = [", ".join(parts)]
        if len(self.sources) > 1:
            parts.append(_listed({name: tally.by_source[name] for name in self.sources}))
        if dropped := self.dropped():
            parts.append(f"dropped {_listed(dropped)}")
        if not_written := {name: number for name, number in self.sinks.dropped().items() if number}:
            parts.append(f"not written {_listed(not_written)}")
        if tally.shed:
            parts.append(f"for the deadline {_listed(tally.shed)}")
        if reconnects := {name: status.reconnects for name, status in self.sources.items() if status.reconnects}:
            parts.append(f"opened again {_listed(reconnects)}")
        return ("interrupted after " if self.interrupted else "") + "; ".join(parts)


class StatusText:
    """Text about a run of live sources since it was asked for last."""

    def __init__(
        self,
        tally: LiveTally,
        sinks: LiveSinks,
        sources: Callable[[], Statuses],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the first interval."""
        self._tally, self._sinks, self._sources, self._clock = tally, sinks, sources, clock
        self._asked_s = clock()

    def __call__(self) -> str:
        """Return `12.1 frames/s, age 84 ms, 3.2 objects, dropped 57 newer; yard lost`."""
        now_s, recent, sources = self._clock(), self._tally.take_recent(), self._sources()
        spent_s, self._asked_s = now_s - self._asked_s, now_s
        parts = ["no frame"]
        if recent and spent_s > 0:
            objects = sum(number for _, number in recent) / len(recent)
            parts = [format_rate(len(recent) / spent_s), f"age {median(age for age, _ in recent):.0f} ms"]
            parts.append(f"{objects:.1f} objects")
        report = LiveReport(self._tally, sources, self._sinks, 0.0, False)
        if dropped := report.dropped():
            parts.append(f"dropped {_listed(dropped)}")
        if not_written := sum(self._sinks.dropped().values()):
            parts.append(f"not written {not_written}")
        away = [f"{name} {status.state}" for name, status in sources.items() if status.state != "live"]
        return "; ".join([", ".join(parts), *away])


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items())
