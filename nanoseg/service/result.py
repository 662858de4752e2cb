"""What leaves the loop of frames, and who takes it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nanoseg.service.frame_record import FrameRecord
from nanoseg.types import Detections, Frame

_numbers = itertools.count(1)


class FrameResult:
    """A frame with its objects: pixels of redacted classes are covered already.

    It holds the whole frame: what waits for an output is its `record`.
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
        self.number = next(_numbers)  # no other result has it
        self._lock, self._drawing = threading.Lock(), threading.Lock()
        self._found: Detections | None = None
        self._records: dict[bool, FrameRecord] = {}

    @property
    def found(self) -> Detections:
        """The objects with raster masks, made by the first that asks, in its thread, and kept."""
        with self._drawing:
            if self._found is None:
                self._found = self.objects.materialize()
            return self._found

    def record(self, *, masks: bool = True) -> FrameRecord:
        """Return the record, with the masks' run lengths or without: the same one to all that ask."""
        with self._lock:
            if masks not in self._records:
                self._records[masks] = FrameRecord(
                    self.frame, self.objects, self.regions, self.events, redacted=self.redacted, masks=masks
                )
            return self._records[masks]


class Subscriber(Protocol):
    """Takes results. Called in the loop's thread, so it must neither wait nor raise."""

    def put(self, result: FrameResult) -> None:
        """Take one result."""
