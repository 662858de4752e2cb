"""What leaves the loop of frames, and who takes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from nanoseg.sinks.records import record
from nanoseg.types import Detections, Frame
from nanoseg.utils.names import encode_json

T = TypeVar("T")


class FrameResult:
    """A frame with its objects: pixels of redacted classes are covered already.

    The pixels of its masks, its record and its JSON are made by the first that asks, in that thread, and kept.
    """

    def __init__(
        self,
        frame: Frame,
        found: Detections,
        regions: Mapping[str, Mapping[str, int]],
        events: Sequence[Mapping[str, Any]],
        *,
        redacted: bool,
    ) -> None:
        """Keep a result.

        Args:
            frame: owned by the result.
            found: the objects that are reported.
            regions: number of objects by region and class.
            events: what happened in them.
            redacted: whether silhouettes are covered.
        """
        self.source, self.frame, self.objects = frame.name, frame, found
        self.regions, self.events, self.redacted = regions, events, redacted
        self._lock = threading.Lock()
        self._made: dict[tuple[str, bool], Any] = {}

    @property
    def found(self) -> Detections:
        """The objects with raster masks; `objects` has them without, for what looks at no pixels."""
        return self._once(("found", True), self.objects.materialize)

    def record(self, *, masks: bool = True) -> dict[str, Any]:
        """Return the record of `nanoseg run`, with `source`, `regions`, `events` and `redacted`; not to be changed.

        Args:
            masks: whether objects have their masks' run lengths, which take most of the time and of the bytes.
        """
        return self._once(("record", masks), lambda: self._record(masks))

    def line(self, *, masks: bool = True) -> bytes:
        """Return the record as JSON without a line end."""
        return self._once(("line", masks), lambda: encode_json(self.record(masks=masks)))

    def _record(self, masks: bool) -> dict[str, Any]:
        return {
            "source": self.source,
            **record(self.frame, self.found if masks else self.objects, masks=masks),
            "regions": {name: dict(counts) for name, counts in self.regions.items()},
            "events": [dict(event) for event in self.events],
            "redacted": self.redacted,
        }

    def _once(self, key: tuple[str, bool], make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._made:
                found: T = self._made[key]
                return found
        made = make()  # without the lock, which `make` may take; two that ask at once make the same
        with self._lock:
            kept: T = self._made.setdefault(key, made)
            return kept


class Subscriber(Protocol):
    """Takes results. Called in the loop's thread, so it must neither wait nor raise."""

    def put(self, result: FrameResult) -> None:
        """Take one result."""
