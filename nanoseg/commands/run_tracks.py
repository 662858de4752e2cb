"""Identities in `nanoseg run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoseg.commands.run_options import RunOptions
from nanoseg.errors import UsageError
from nanoseg.tracking.segmenter import TrackingSegmenter
from nanoseg.tracking.tracks import Tracks

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


def open_tracks(options: RunOptions) -> Tracks | None:
    """Return the tracker of the options; None without one.

    Raises:
        UsageError: detection is to be left out on some frames, and nothing carries its boxes.
        DependencyError: the library is not installed.
    """
    if options.track is None:
        if options.detect_every != 1:
            raise UsageError("--detect-every: wanted with --track, which carries the boxes in between")
        return None
    from nanoseg.tracking.library import open_tracks as open_library

    return open_library(options.track)


def tracking(
    segmenter: Segmenter, tracks: Tracks | None, options: RunOptions, *, by_source: bool = False
) -> Segmenter | TrackingSegmenter:
    """Return a segmenter whose objects have identities, or the same one without tracks."""
    if tracks is None:
        return segmenter
    return TrackingSegmenter(segmenter, tracks, detect_every=options.detect_every, by_source=by_source)
