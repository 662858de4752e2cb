"""Trackers of Roboflow's library `trackers`: ByteTrack, OC-SORT and McByte."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np

from nanoseg.errors import needs
from nanoseg.tracking.mask_memory import MaskMemory
from nanoseg.tracking.tracker import TrackerName
from nanoseg.tracking.tracks import Tracks
from nanoseg.types import Detections

with needs("trackers", "track"):
    import supervision
    from trackers import ByteTrackTracker, McByteTracker, OCSORTTracker

START_CONFIDENCE = 0.4  # of a detection that nothing was tracked at before; those below only go on with a track
_NO_IMAGE = np.zeros((1, 1, 3), np.uint8)  # McByte asks its masks only where there is a frame


def open_tracks(name: TrackerName) -> Tracks:
    """Return identities by the tracker of that name."""
    return Tracks(partial(LibraryTracker, name))


class LibraryTracker:
    """A tracker of the library; see `Tracker`."""

    def __init__(self, name: TrackerName) -> None:
        """Start without tracks."""
        start = START_CONFIDENCE
        self._masks = MaskMemory(self._boxes)
        self._takes_frames = name == "mcbyte"
        self._tracker: Any
        if name == "bytetrack":
            self._tracker = ByteTrackTracker(high_conf_det_threshold=start, track_activation_threshold=start)
        elif name == "oc-sort":
            self._tracker = OCSORTTracker(high_conf_det_threshold=start)
        else:
            # Its masks are of the frame itself however much time has passed.
            warnings.filterwarnings("ignore", "enable_mask_manager=True with timestamp", UserWarning)
            self._tracker = McByteTracker(
                high_conf_det_threshold=start,
                track_activation_threshold=start,
                enable_cmc=False,
                mask_manager=cast(Any, self._masks),  # it has what is called of the library's MaskManager
            )

    def update(self, found: Detections, time_s: float | None) -> np.ndarray:
        """Return identities, (N,) int64."""
        frame = {"frame": _NO_IMAGE} if self._takes_frames else {}
        rows = supervision.Detections(xyxy=found.xyxy, confidence=found.confidence, data={"row": np.arange(len(found))})
        tracked = self._tracker.update(rows, timestamp=time_s, **frame)
        ids = np.full(len(found), -1, np.int64)
        if len(tracked):
            ids[tracked.data["row"]] = tracked.tracker_id
        if self._takes_frames:
            self._masks.remember(found, ids)
        return ids

    def predict(self, time_s: float | None) -> Mapping[int, np.ndarray]:
        """Return boxes by identity."""
        later = copy.deepcopy(self._tracker)  # which sees nothing: what it expects is where things would be
        later.update(supervision.Detections.empty(), timestamp=time_s)
        return _boxes(later)

    def _boxes(self) -> Mapping[int, np.ndarray]:
        return _boxes(self._tracker)


def _boxes(tracker: Any) -> Mapping[int, np.ndarray]:
    tracked = tracker.tracked_objects
    return dict(zip(tracked.tracker_id.tolist(), tracked.xyxy, strict=True))
