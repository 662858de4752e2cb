"""The identities of the objects of several sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np

from nanoseg.processing.masks import best_per_prompt
from nanoseg.tracking.tracker import Tracker
from nanoseg.types import Detections, Frame

_KNOWN_IDS = 1024  # of a source: those that were used last, so that a service without end needs no more memory


class Tracks:
    """Trackers, one a source, whose identities are counted together: from 1, each given once."""

    def __init__(self, make: Callable[[], Tracker]) -> None:
        """Start without tracks; `make` returns a source's tracker. `nanoseg.tracking.library.open_tracks` has some."""
        self._make = make
        self._sources: dict[str, _Source] = {}
        self._ids = count(1)

    def identify(self, frame: Frame, found: Detections, source: str = "") -> Detections:
        """Return the objects of a source's next frame with their identities.

        Args:
            frame: Whose `media_ns` is the source's clock; without one its frames follow each other evenly.
            found: What was found in it.
            source: The source's name.

        Returns:
            The same objects with `track_id`. Boxes that share a mask are one object, and share its identity.
        """
        of = self._of(source, frame)
        best = best_per_prompt(found.confidence, found.masks.same)
        time_s = of.next_time_s(frame)
        tracked = of.tracker.update(found if len(best) == len(found) else found.select(best), time_s)
        of.time_s = time_s
        track_id = np.full(len(found), -1, np.int64)
        for index, own in zip(best.tolist(), tracked.tolist(), strict=True):
            if own >= 0:
                track_id[found.masks.same == found.masks.same[index]] = self._run_id(of, own)
        return replace(found, track_id=track_id)

    def predict(self, frame: Frame, earlier: Detections, source: str = "") -> Detections:
        """Return the objects of a source's last frame with their boxes where they are expected on the next one.

        Those without an identity stay where they were; those that have left the frame are left out.

        Args:
            frame: The next one.
            earlier: What `identify` returned.
            source: The source's name.
        """
        of = self._of(source, frame)
        own = {run_id: own for own, run_id in of.ids.items()}
        expected = of.tracker.predict(of.next_time_s(frame))
        xyxy = earlier.xyxy.copy()
        for index, run_id in enumerate([] if earlier.track_id is None else earlier.track_id.tolist()):
            xyxy[index] = expected.get(own.get(run_id, -1), xyxy[index])
        height, width = frame.size_hw
        xyxy = xyxy.clip(0, np.array([width, height, width, height], np.float32))
        inside = (xyxy[:, 2:] - xyxy[:, :2] >= 1).all(1)
        return replace(earlier, xyxy=xyxy).select(np.flatnonzero(inside))

    def _of(self, source: str, frame: Frame) -> _Source:
        """Return a source's tracker: a new one where its frames have another size now."""
        found = self._sources.get(source)
        if found is None or found.frame_hw != frame.size_hw:
            found = self._sources[source] = _Source(self._make(), frame.size_hw)
        return found

    def _run_id(self, of: _Source, own: int) -> int:
        run_id = of.ids.pop(own, None)
        of.ids[own] = next(self._ids) if run_id is None else run_id
        if len(of.ids) > _KNOWN_IDS:
            del of.ids[next(iter(of.ids))]
        return of.ids[own]


class _Source:
    """A source's tracker."""

    def __init__(self, tracker: Tracker, frame_hw: tuple[int, int]) -> None:
        self.tracker, self.frame_hw = tracker, frame_hw
        self.ids: dict[int, int] = {}  # of the run, by the tracker's own; used last comes last
        self.time_s: float | None = None

    def next_time_s(self, frame: Frame) -> float | None:
        """Return a frame's time as a tracker takes it; None without a clock, or where it has started again."""
        time_s = None if frame.media_ns is None else frame.media_ns / 1e9
        return None if time_s is None or (self.time_s is not None and time_s <= self.time_s) else time_s
