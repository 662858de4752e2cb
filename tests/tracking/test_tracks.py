"""Identities of several sources, by trackers that a test plays."""

import numpy as np
import pytest

from nanoseg.tracking.tracks import Tracks
from tests.tracking.moving import a_frame, seen

BOX, FAR = (10, 10, 50, 50), (200, 100, 240, 140)


class PlayedTracker:
    """A tracker whose identities are the left edges of the boxes, in tens; it expects them 5 pixels further right."""

    def __init__(self):
        self.times_s, self.counts, self.boxes = [], [], {}

    def update(self, found, time_s):
        self.times_s.append(time_s)
        self.counts.append(len(found))
        ids = (found.xyxy[:, 0] // 10).astype(np.int64)
        ids[found.confidence < 0.5] = -1
        self.boxes = {own: box for own, box in zip(ids.tolist(), found.xyxy, strict=True) if own >= 0}
        return ids

    def predict(self, time_s):
        return {own: box + np.array([5, 0, 5, 0], np.float32) for own, box in self.boxes.items()}


@pytest.fixture
def played():
    made = []

    def make():
        made.append(PlayedTracker())
        return made[-1]

    return Tracks(make), made


def test_identities_are_counted_over_all_sources_and_given_once(played):
    tracks, _ = played
    ids = [
        tracks.identify(a_frame(index), seen([BOX, FAR][: 1 + index]), source).track_id.tolist()
        for index in range(2)
        for source in ("belt", "door")
    ]
    assert ids == [[1], [2], [1, 3], [2, 4]]


def test_what_is_not_tracked_has_no_identity(played):
    assert played[0].identify(a_frame(), seen([BOX, FAR], [0.9, 0.3])).track_id.tolist() == [1, -1]


def test_boxes_that_share_a_mask_are_one_object(played):
    tracks, made = played
    found = seen([BOX, (12, 10, 52, 50), FAR], [0.6, 0.8, 0.9])
    found.masks.same = np.array([0, 0, 2])
    ids = tracks.identify(a_frame(), found).track_id
    assert ids[0] == ids[1] != ids[2]
    assert made[0].counts == [2]


@pytest.mark.parametrize(
    ("media_s", "times_s"),
    [
        ((0.0, 0.1, 0.3), [0.0, 0.1, 0.3]),
        ((5.0, 5.0, 0.0, 0.2), [5.0, None, 0.0, 0.2]),  # a clock that stands still, or starts again
        ((None, None), [None, None]),
    ],
)
def test_trackers_get_times_that_only_go_on(played, media_s, times_s):
    tracks, made = played
    for time_s in media_s:
        frame = a_frame(1, fps=None if time_s is None else 1 / time_s if time_s else np.inf)
        tracks.identify(frame, seen([BOX]))
    assert made[0].times_s == pytest.approx(times_s, nan_ok=True) if None not in times_s else made[0].times_s == times_s


def test_frames_of_another_size_have_other_tracks(played):
    tracks, made = played
    ids = [
        tracks.identify(a_frame(size_hw=size_hw), seen([BOX], frame_hw=size_hw)).track_id.item()
        for size_hw in ((240, 320), (480, 640), (480, 640))
    ]
    assert ids == [1, 2, 2]
    assert len(made) == 2


def test_boxes_are_expected_where_their_tracks_are(played):
    tracks, _ = played
    edge = (316, 50, 320, 90)
    found = tracks.identify(a_frame(), seen([BOX, FAR, edge], [0.9, 0.3, 0.9]))
    moved = tracks.predict(a_frame(1), found)
    assert moved.xyxy.tolist() == [[15, 10, 55, 50], list(FAR)]  # the last one has left the frame
    assert moved.track_id.tolist() == [1, -1]
    assert len(moved.masks) == 2


def test_a_run_without_end_remembers_what_is_there(played):
    tracks, _ = played
    for index in range(1500):
        own = index % 30000
        found = seen([BOX, (0, 0, 5, 5)])
        found.xyxy[1, 0] = 100 + 10 * own
        ids = tracks.identify(a_frame(index), found).track_id
        assert ids[0] == 1
        assert ids[1] == index + 2
