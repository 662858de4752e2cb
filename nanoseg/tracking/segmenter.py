"""Segment and track: identities over frames, and frames whose boxes are carried from the one before, not detected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from nanoseg.deadline import Carry, segment_carried
from nanoseg.errors import UsageError
from nanoseg.processing.boxes import mask_limits
from nanoseg.segmenter import Segmenter
from nanoseg.tracking.tracks import Tracks
from nanoseg.types import Detections, Frame
from nanoseg.utils.timing import Stopwatch


class TrackingSegmenter:
    """A segmenter whose detections have `track_id`, and which need not detect on each frame.

    Detection is left out on frames between: the boxes of the frame before are moved to where its tracker expects them,
    and segmented on this one; the bounds of their masks then are what the tracker is told of it. What comes into view
    is found at the next detection. A frame is always detected on after one without objects, and after one on which a
    mask was cut off at the limits of its box: the object was not where it was expected.
    """

    def __init__(self, segmenter: Segmenter, tracks: Tracks, *, detect_every: int = 1, by_source: bool = False) -> None:
        """Wrap a segmenter, which is not closed here.

        Args:
            segmenter: Finds and segments. It may be exchanged between two frames.
            tracks: Identities, which go on.
            detect_every: Detect on one of so many frames.
            by_source: Whether frames of different names are of different sources; else all are of one, as the images
                of a folder.

        Raises:
            UsageError: `detect_every` is below 1.
        """
        if detect_every < 1:
            raise UsageError(f"detect_every: wanted a number from 1, got {detect_every}")
        self.segmenter, self.tracks, self.detect_every = segmenter, tracks, detect_every
        self._by_source = by_source
        self._before: dict[str, tuple[int, Detections]] = {}  # frames since the last detection, objects to carry

    @property
    def max_objects(self) -> int | None:
        """The segmenter's limit."""
        return self.segmenter.max_objects

    def __call__(self, frame: Frame, *, max_objects: int | None = None) -> Detections:
        """Return the objects of the next frame of a source; arguments and errors are those of `Segmenter`.

        `latency_ms` has `track`; without `detect` where that was left out.
        """
        if (earlier := self._carried(frame)) is not None:
            return self.carry(frame, earlier, max_objects)
        found = self._identified(frame, self.segmenter(frame, max_objects=max_objects))
        self._keep(frame, 0, found)
        return found

    def stream(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        """Yield each frame with its objects, as `Segmenter.stream`; frame by frame where detection is left out."""
        if self.detect_every > 1:
            yield from ((frame, self(frame)) for frame in frames)
            return
        for frame, found in self.segmenter.stream(frames):
            yield frame, self._identified(frame, found)

    def carry(self, frame: Frame, earlier: Detections, max_objects: int | None = None) -> Detections:
        """Return the objects of a source's last frame on its next one, without detection.

        Args:
            frame: The next one.
            earlier: What was returned for the last one.
            max_objects: Maximum number of objects, the most confident ones; None: all.
        """
        watch = Stopwatch()
        moved = self.tracks.predict(frame, earlier, self._source(frame))
        watch.lap("track")
        found = segment_carried(self.segmenter, frame, moved, max_objects)
        watch.resume()
        bounded, cut = with_mask_bounds(found)
        watch.lap("track")
        found = self._identified(frame, bounded, watch.latency_ms["track"])
        age = self._before.get(self._source(frame), (0, None))[0] + 1
        self._keep(frame, self.detect_every if cut else age, found)
        return found

    def _source(self, frame: Frame) -> str:
        return frame.name if self._by_source else ""

    def _carried(self, frame: Frame) -> Detections | None:
        """Return the objects that a frame is segmented by; None where it is detected on."""
        age, earlier = self._before.get(self._source(frame), (0, None))
        if earlier is None or not len(earlier) or earlier.masks.geometry.frame_hw != frame.size_hw:
            return None
        return earlier if age + 1 < self.detect_every else None

    def _keep(self, frame: Frame, age: int, found: Detections) -> None:
        if self.detect_every > 1:
            self._before[self._source(frame)] = age, found

    def _identified(self, frame: Frame, found: Detections, spent_ms: float = 0.0) -> Detections:
        watch = Stopwatch()
        found = self.tracks.identify(frame, found, self._source(frame))
        track_ms = spent_ms + watch.stop()["total"]
        stages = dict(found.latency_ms)
        total_ms = stages.pop("total", 0.0) + track_ms
        return replace(found, latency_ms={**stages, "track": track_ms, "total": total_ms})


def carrier(segmenter: Segmenter | TrackingSegmenter) -> Carry:
    """Return what segments frames by the boxes of those before, for `DeadlineSegmenter`."""
    return segmenter.carry if isinstance(segmenter, TrackingSegmenter) else partial(segment_carried, segmenter)


def with_mask_bounds(found: Detections) -> tuple[Detections, bool]:
    """Return objects with raster masks whose bounds are their boxes, without those whose mask is empty.

    Args:
        found: Objects whose masks are limited to their boxes.

    Returns:
        The objects, and whether the mask of any was cut off there, and not by the frame's edge.
    """
    found = found.materialize()
    xyxy, kept = found.xyxy.copy(), []
    for index in range(len(found)):
        left, top, mask = found.masks.crop(index)
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(columns):
            xyxy[index] = left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1
            kept.append(index)
    height, width = found.masks.geometry.frame_hw
    limits = mask_limits(found.xyxy, (height, width))[kept]
    reached = np.where([True, True, False, False], xyxy[kept] <= limits, xyxy[kept] >= limits)
    cut = bool((reached & (limits != (0, 0, width, height))).any())
    return replace(found, xyxy=xyxy).select(np.array(kept, np.intp)), cut
