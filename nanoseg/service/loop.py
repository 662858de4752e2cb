"""The loop of the service: each time the freshest frame of a camera, through one segmenter, to all who take results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from nanoseg.deadline import DeadlineSegmenter
from nanoseg.errors import EngineError, NanosegError, one_line
from nanoseg.service.regions import Region
from nanoseg.service.result import FrameResult, Subscriber
from nanoseg.sources.cameras import Cameras
from nanoseg.tracking.segmenter import TrackingSegmenter, carrier
from nanoseg.types import Detections, Frame
from nanoseg.utils.timing import frame_age_ms

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter
    from nanoseg.service.privacy import Privacy

MAX_FAILURES = 5  # frames in a row that an engine fails at, after which only a new process may help
_IDLE_S = 0.5


class Observer(Protocol):
    """Counts what the loop does. Called in its thread."""

    def finished(self, result: FrameResult) -> None:
        """Count a frame that was segmented."""

    def not_finished(self, source: str, outcome: str) -> None:
        """Count a frame without a result: `failed` or `skipped`."""


@dataclass
class Hooks:
    """What others do in the loop's thread, between two frames; none of it may wait."""

    alive: Callable[[], None]  # called when a frame is finished and while there is none: never from within an engine
    between: Callable[[], None]  # may change the loop's segmenter, cameras and regions
    told: Callable[[str, str], None]  # takes a source's name and a line about trouble
    segmented: Callable[[Frame, Detections], None]  # takes all objects and true pixels, which stay in this process
    failed: Callable[[NanosegError], bool]  # returns whether it has exchanged the segmenter for one that may not fail


class ServiceLoop:
    """Segment the frames of several cameras until it is stopped, whatever becomes of the cameras."""

    def __init__(
        self,
        segmenter: Segmenter,
        cameras: Cameras,
        regions: Sequence[Region],
        subscribers: Sequence[Subscriber],
        observer: Observer,
        hooks: Hooks,
        *,
        deadline_ms: float | None = None,
        privacy: Privacy | None = None,
        tracking: Callable[[Segmenter], Segmenter | TrackingSegmenter] = lambda segmenter: segmenter,
    ) -> None:
        """Take the parts, which may be exchanged between two frames.

        Args:
            segmenter: finds and segments; not closed here.
            cameras: the sources; not closed here.
            regions: in which objects are counted.
            subscribers: take the results.
            observer: counts.
            hooks: what others do.
            deadline_ms: from a frame's capture to its masks, for which work is shed.
            privacy: covers silhouettes; None: pictures are as they come.
            tracking: returns what segments and tracks with a segmenter, where identities are wanted.
        """
        self.cameras, self.regions, self.subscribers = cameras, list(regions), list(subscribers)
        self._observer, self._hooks = observer, hooks
        self._failures = 0
        self._stopped = False
        self._tracking = tracking
        self.use(segmenter, deadline_ms, privacy)

    def use(self, segmenter: Segmenter, deadline_ms: float | None, privacy: Privacy | None) -> None:
        """Segment and cover the next frames so. Only between two frames."""
        self.segmenter, self.deadline_ms, self.privacy = segmenter, deadline_ms, privacy
        self._frames = frames = self._tracking(segmenter)
        self._by_deadline = None if deadline_ms is None else DeadlineSegmenter(frames, carrier(frames), deadline_ms)

    def stop(self) -> None:
        """End `run` after the frame under way. From any thread, and from a signal's handler: it takes no lock."""
        self._stopped = True

    def run(self) -> None:
        """Segment frames until `stop`.

        Raises:
            EngineError: the engine failed at MAX_FAILURES frames in a row.
        """
        while not self._stopped:
            self.turn()

    def turn(self) -> None:
        """Segment one frame, or wait a moment where there is none; raises as `run`."""
        self._hooks.between()
        self._hooks.alive()
        frame = self.cameras.read(_IDLE_S)
        if frame is not None:
            self._process(frame)

    def _process(self, frame: Frame) -> None:
        try:
            found, shed = self._segment(frame)
            self._failures = 0
        except Exception as raised:  # also of a library, at what a bundle computes
            error = _as_own(raised)
            self._observer.not_finished(frame.name, "failed")
            self._hooks.told(frame.name, f"{frame.name}: a frame failed: {error}")
            self._cover(frame, None)
            self._failures = 0 if self._hooks.failed(error) else self._failures + 1
            if self._failures >= MAX_FAILURES:
                raise EngineError(f"{self._failures} frames in a row failed; the last: {error}") from raised
            return
        if found is None:
            self._observer.not_finished(frame.name, "skipped")
            self._cover(frame, None)
            return
        covered = self._cover(frame, found)
        found = replace(found, age_ms=frame_age_ms(frame.captured_ns, time.time_ns()), shed=shed)
        if found.shed or "detect" in found.latency_ms:  # boxes that a tracker carried say nothing of the bundle
            self._hooks.segmented(frame, found)
        result = self._result(covered, self._reported(found))
        self._observer.finished(result)
        for subscriber in self.subscribers:
            subscriber.put(result)

    def _segment(self, frame: Frame) -> tuple[Detections | None, tuple[str, ...]]:
        if self._by_deadline is not None:
            return self._by_deadline(frame)
        return self._frames(frame), ()

    def _cover(self, frame: Frame, found: Detections | None) -> Frame:
        return frame if self.privacy is None else self.privacy.cover(frame, found)

    def _reported(self, found: Detections) -> Detections:
        return found if self.privacy is None else self.privacy.reported(found)

    def _result(self, frame: Frame, found: Detections) -> FrameResult:
        mine = [region for region in self.regions if region.config.source == frame.name]
        if mine:  # else the first that asks for pixels computes them, in its own thread
            found = found.materialize()
        now_s, regions = _media_s(frame), dict[str, Mapping[str, int]]()
        events: list[Mapping[str, Any]] = []
        for region in mine:
            events += region.update(found, frame.size_hw, now_s)
            regions[region.config.name] = dict(region.counts)
        return FrameResult(frame, found, regions, events, redacted=self.privacy is not None)


def _media_s(frame: Frame) -> float:
    """Return the time of a frame on its camera's own clock, which only goes on, in seconds."""
    return time.monotonic() if frame.media_ns is None else frame.media_ns / 1e9


def _as_own(error: Exception) -> NanosegError:
    return error if isinstance(error, NanosegError) else EngineError(f"{type(error).__name__}: {one_line(error)}")
