"""The record of a frame, which waits for outputs without the frame's pixels."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nanoseg.processing.masks import Masks, RasterMasks
from nanoseg.sinks.records import record
from nanoseg.types import Detections, Frame
from nanoseg.utils.names import encode_json

MAX_BYTES = 32_000_000  # of the records that wait for one output
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class FrameRecord:
    """The record of `nanoseg run` as JSON, with `source`, `regions`, `events` and `redacted`.

    The first that asks makes it, in its thread. Until then the objects are kept, with their masks where these are
    wanted, and never the frame's pixels.
    """

    def __init__(
        self,
        frame: Frame,
        objects: Detections,
        regions: Mapping[str, Mapping[str, int]],
        events: Sequence[Mapping[str, Any]],
        *,
        redacted: bool,
        masks: bool,
    ) -> None:
        """Keep what the record is made of; see FrameResult.

        Args:
            frame: the frame.
            objects: what was found in it.
            regions: number of objects by region and class.
            events: what happened in them.
            redacted: whether silhouettes are covered.
            masks: whether objects have their masks' run lengths, which take most of the time and of the bytes.
        """
        self.source, self.index, self.captured_ns = frame.name, frame.index, frame.captured_ns
        self.regions, self.events = regions, events
        self.nbytes = _nbytes(objects.masks) if masks else 0  # that it holds, about
        light = replace(objects, seen=None, masks=objects.masks if masks else Masks.none(objects.masks.geometry))
        self._parts: tuple[Frame, Detections, bool, bool] | None
        self._parts = replace(frame, image=_NO_PIXELS), light, redacted, masks
        self._lock = threading.Lock()
        self._made: bytes | None = None

    @property
    def made(self) -> bytes | None:
        """The JSON where it was made already."""
        return self._made

    def json(self) -> bytes:
        """Return the record as JSON without a line end."""
        with self._lock:  # others that ask wait, and do not make the same
            if self._parts is not None:
                made = self._make(*self._parts)
                self._made, self.nbytes, self._parts = made, len(made), None
            assert self._made is not None
            return self._made

    def _make(self, frame: Frame, objects: Detections, redacted: bool, masks: bool) -> bytes:
        return encode_json(
            {
                "source": self.source,
                **record(frame, objects, masks=masks),
                "regions": {name: dict(counts) for name, counts in self.regions.items()},
                "events": [dict(event) for event in self.events],
                "redacted": redacted,
            }
        )


class WaitingRecords:
    """Records that wait for one output, oldest first: so many at most, and MAX_BYTES; one alone may be larger.

    Not for several threads at once.
    """

    def __init__(self, most: int) -> None:
        """Start empty; `most` is how many may wait."""
        self._most = most
        self._records: deque[FrameRecord] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def has_room(self, new: FrameRecord) -> bool:
        """Return whether another one may wait, too."""
        waiting = len(self._records)
        held = sum(each.nbytes for each in self._records)  # less than when they came where some were made since
        return not waiting or (waiting < self._most and held + new.nbytes <= MAX_BYTES)

    def append(self, new: FrameRecord) -> int:
        """Add one; returns how many of the oldest were dropped for it."""
        dropped = 0
        while not self.has_room(new):
            self._records.popleft()
            dropped += 1
        self._records.append(new)
        return dropped

    def popleft(self) -> FrameRecord:
        """Take the oldest."""
        return self._records.popleft()

    def clear(self) -> None:
        """Drop all."""
        self._records.clear()


def _nbytes(masks: Masks) -> int:
    crops = [masks.crop(index).mask.nbytes for index in range(len(masks))] if isinstance(masks, RasterMasks) else []
    return masks.logits.nbytes + sum(crops)
