"""Identities in the service: they go on when the configuration is read again, and when another bundle takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoseg.service.config import ModelConfig
from nanoseg.tracking.segmenter import TrackingSegmenter
from nanoseg.tracking.tracker import TrackerName
from nanoseg.tracking.tracks import Tracks

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


class ServiceTracking:
    """Wraps the segmenter of the moment as `[model]` says."""

    def __init__(self, model: Callable[[], ModelConfig]) -> None:
        """Take what returns the configuration of the moment."""
        self._model = model
        self._opened: tuple[TrackerName, Tracks] | None = None

    def __call__(self, segmenter: Segmenter) -> Segmenter | TrackingSegmenter:
        """Return what segments and tracks with a segmenter; the segmenter itself where `track` is not set.

        Raises:
            DependencyError: the library is not installed.
        """
        model = self._model()
        if model.track is None:
            self._opened = None
            return segmenter
        if self._opened is None or self._opened[0] != model.track:
            from nanoseg.tracking.library import open_tracks

            self._opened = model.track, open_tracks(model.track)
        return TrackingSegmenter(segmenter, self._opened[1], detect_every=model.detect_every, by_source=True)
