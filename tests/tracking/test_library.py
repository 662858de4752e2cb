"""The library's trackers behind the protocol."""

import numpy as np
import pytest

from nanoseg.tracking.library import LibraryTracker, open_tracks
from nanoseg.tracking.segmenter import TrackingSegmenter
from nanoseg.tracking.tracker import TRACKERS
from tests.tracking.moving import Seeing, a_frame, moving, seen

pytestmark = pytest.mark.parametrize("name", TRACKERS)
CROSSING = moving([(20, 60), (260, 120)], [(4, 0), (-4, 0)])


def ids_of(name, boxes, frames, fps=30.0):
    tracks = open_tracks(name)
    return [tracks.identify(a_frame(index, fps=fps), seen(boxes(index))).track_id.tolist() for index in range(frames)]


@pytest.mark.parametrize("fps", [30.0, 12.5, None])
def test_objects_keep_their_identity(name, fps):
    ids = ids_of(name, CROSSING, 40, fps)
    assert {tuple(each) for each in ids[5:]} == {tuple(ids[5])}
    assert sorted(ids[5]) == [1, 2]


def test_an_object_that_is_missed_for_a_moment_is_the_same_afterwards(name):
    def boxes(index):
        return CROSSING(index)[: 1 if 10 <= index < 20 else 2]

    ids = ids_of(name, boxes, 30)
    assert ids[9] == ids[29]


def test_an_object_that_is_gone_for_long_is_another_one(name):
    def boxes(index):
        return CROSSING(index)[: 1 if 10 <= index < 45 else 2]

    ids = ids_of(name, boxes, 50)
    assert ids[49][1] > 2


def test_time_that_passes_counts_not_the_number_of_frames(name):
    tracks = open_tracks(name)
    found = [
        tracks.identify(a_frame(index), seen(CROSSING(index))).track_id.tolist()
        for index in [*range(10), *range(14, 40, 4)]  # a camera of which frames are dropped
    ]
    assert found[9] == found[-1]


def test_order_of_detections_is_kept(name):
    tracks = open_tracks(name)
    by_object = []
    for index in range(12):
        order = [0, 1] if index % 2 else [1, 0]
        ids = tracks.identify(a_frame(index), seen(CROSSING(index)[order])).track_id
        by_object.append(ids[order].tolist())
    assert by_object[6] == by_object[11]


def test_a_prediction_is_where_the_object_will_be_and_changes_nothing(name):
    tracker, copy = LibraryTracker(name), LibraryTracker(name)
    for index in range(20):
        for each in (tracker, copy):
            ids = each.update(seen(CROSSING(index)), index / 30)
        expected = tracker.predict((index + 1) / 30)
    assert len(expected) == 2
    for own, box in zip(ids.tolist(), CROSSING(20), strict=True):
        assert np.abs(expected[own] - box).max() < 1
    assert tracker.update(seen(CROSSING(20)), 20 / 30).tolist() == copy.update(seen(CROSSING(20)), 20 / 30).tolist()


@pytest.mark.parametrize("detect_every", [2, 3, 5])
def test_carried_objects_keep_their_identity(name, detect_every):
    tracking = TrackingSegmenter(Seeing(CROSSING), open_tracks(name), detect_every=detect_every)
    found = [tracking(a_frame(index)) for index in range(30)]
    assert {tuple(each.track_id.tolist()) for each in found[6:]} == {(1, 2)}
    assert max(np.abs(each.xyxy - CROSSING(index)).max() for index, each in enumerate(found)) <= 3


def test_frames_without_objects_are_none(name):
    assert ids_of(name, lambda _: np.zeros((0, 4)), 3) == [[], [], []]
