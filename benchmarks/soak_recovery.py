"""Whether a camera came back after each of its faults, and how long after the source's return; no I/O.

All times are seconds since the camera's start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanoseg.sources.fault_schedule import Fault, FaultSchedule

HANG_S = 60.0  # a camera that has not come back by then hangs


@dataclass(frozen=True)
class Recovery:
    """What followed one fault."""

    camera: str
    number: int  # of the fault in the camera's schedule
    kind: str
    start_s: float
    end_s: float
    seconds: float | None  # from the source's return to the first frame of it; None: it did not come
    reconnected: bool  # it was opened again in between
    reason: str = ""  # the last that the camera gave for not being live


class Recoveries:
    """Match the frames of one camera with its faults."""

    def __init__(self, camera: str, schedule: FaultSchedule) -> None:
        """Begin before the first fault.

        Args:
            camera: its name.
            schedule: its faults, with a count.
        """
        self._camera, self._coming = camera, list(schedule.faults())
        self._waiting: list[tuple[Fault, int]] = []  # faults that began, with the reconnections before each
        self._reason = ""

    def __len__(self) -> int:
        return len(self._coming) + len(self._waiting)

    @property
    def done(self) -> bool:
        """Whether all faults have passed, and what followed each is known."""
        return not len(self)

    def tick(self, now_s: float, reconnects: int, reason: str) -> Iterator[Recovery]:
        """Take note of the time; yields the faults after which the camera hangs.

        Args:
            now_s: the time.
            reconnects: how often the camera was opened again so far.
            reason: why it is not live, "" where it is.
        """
        self._reason = reason or self._reason
        while self._coming and self._coming[0].start_s <= now_s:
            self._waiting.append((self._coming.pop(0), reconnects))
            self._reason = reason
        for waiting in [each for each in self._waiting if now_s - each[0].end_s > HANG_S]:
            yield self._end(*waiting, None, reconnects)

    def frame(self, now_s: float, picture_s: float, reconnects: int) -> Iterator[Recovery]:
        """Take a sound frame; yields the faults that are over by it.

        Args:
            now_s: the time.
            picture_s: when its picture was taken.
            reconnects: how often the camera was opened again so far.
        """
        for waiting in [each for each in self._waiting if each[0].end_s <= min(picture_s, now_s)]:
            yield self._end(*waiting, now_s - waiting[0].end_s, reconnects)

    def _end(self, fault: Fault, before: int, seconds: float | None, reconnects: int) -> Recovery:
        self._waiting.remove((fault, before))
        reason = self._reason if reconnects > before or seconds is None else ""
        return Recovery(
            self._camera, fault.number, fault.kind, fault.start_s, fault.end_s, seconds, reconnects > before, reason
        )
