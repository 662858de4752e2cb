"""Detection on some frames only: what carries the boxes in between, and what the masks correct."""

from dataclasses import replace

import numpy as np
import pytest

from nanoseg.deadline import DeadlineSegmenter
from nanoseg.errors import UsageError
from nanoseg.processing.masks import Masks
from nanoseg.tracking.segmenter import TrackingSegmenter, carrier, with_mask_bounds
from nanoseg.tracking.tracks import Tracks
from tests.tracking.moving import Seeing, a_frame, moving, seen
from tests.tracking.test_tracks import PlayedTracker


def run(boxes, frames, **options):
    """Return the segmenter, and what was found on each frame."""
    seeing = Seeing(boxes)
    tracking = TrackingSegmenter(seeing, Tracks(PlayedTracker), **options)
    return seeing, [tracking(frame) for frame in frames]


@pytest.mark.parametrize(
    ("detect_every", "calls"),
    [(1, ["detect"] * 6), (2, ["detect", "embed"] * 3), (3, ["detect", "embed", "embed"] * 2)],
)
def test_detection_runs_on_one_of_so_many_frames(detect_every, calls):
    seeing, found = run(moving([(20, 20)], [(2, 1)]), map(a_frame, range(6)), detect_every=detect_every)
    assert seeing.calls == calls
    assert ["detect" in each.latency_ms for each in found] == [call == "detect" for call in calls]
    for each in found:
        stages = dict(each.latency_ms)
        assert stages.pop("total") >= sum(stages.values()) - 1e-6
        assert "track" in stages


def test_the_bounds_of_its_mask_are_the_box_of_a_carried_object():
    boxes = moving([(20, 20), (100, 120)], [(3, 2), (6, 1)])
    for index, found in enumerate(run(boxes, map(a_frame, range(9)), detect_every=9)[1]):
        # A mask is as exact as its logits: one of them is 2.5 pixels of the frame.
        assert np.abs(found.xyxy - boxes(index)).max() <= 3


def test_each_source_is_detected_on_in_turn():
    frames = [a_frame(index, name) for index in range(4) for name in ("belt", "door")]
    seeing, _ = run(moving([(20, 20)], [(2, 1)]), frames, detect_every=2, by_source=True)
    assert seeing.calls == ["detect", "detect", "embed", "embed"] * 2


@pytest.mark.parametrize(
    ("boxes", "frames"),
    [
        (lambda index: np.zeros((0, 4)), [a_frame(0), a_frame(1), a_frame(2)]),  # nothing can be carried
        (moving([(20, 20)], [(2, 1)]), [a_frame(0), a_frame(1, size_hw=(480, 640)), a_frame(2)]),
    ],
)
def test_frames_with_nothing_to_carry_are_detected_on(boxes, frames):
    assert run(boxes, frames, detect_every=3)[0].calls == ["detect"] * 3


def test_an_object_without_a_mask_is_gone():
    found = seen([(10, 10, 50, 50), (100, 100, 140, 140)])
    found.masks.logits[0] = -1
    kept, cut = with_mask_bounds(found)
    assert not cut
    assert len(kept) == len(kept.masks) == 1
    assert np.abs(kept.xyxy - (100, 100, 140, 140)).max() <= 3


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [
        ((50, 50, 90, 90), False),
        ((54, 50, 94, 90), False),  # within the margin of 10 % and 2 pixels
        ((66, 50, 106, 90), True),
        ((50, 30, 90, 70), True),
        ((66, 50, 320, 90), False),  # so wide that its margin holds the mask
    ],
)
def test_a_mask_that_its_limits_cut_off_is_told(prompt, cut):
    found, box = seen([(50, 50, 90, 90)]), np.array([prompt], np.float32)
    masks = Masks(found.masks.logits, found.mask_confidence, found.masks.geometry, box)
    assert with_mask_bounds(replace(found, xyxy=box, masks=masks))[1] == cut


def test_a_mask_at_the_edge_of_the_frame_is_not_cut_off():
    assert not with_mask_bounds(seen([(-20, 50, 30, 90), (290, 210, 340, 260)]))[1]


def test_objects_that_are_not_where_they_were_expected_are_detected_on_the_next_frame():
    boxes = moving([(20, 20)], [(15, 0)])  # the played tracker expects 5 pixels a frame
    assert run(boxes, map(a_frame, range(6)), detect_every=9)[0].calls == ["detect", "embed"] * 3


@pytest.mark.parametrize("detect_every", [1, 2])
def test_a_stream_is_what_calls_return(detect_every):
    boxes = moving([(20, 20), (200, 120)], [(3, 2), (-4, 1)])
    streamed = TrackingSegmenter(Seeing(boxes), Tracks(PlayedTracker), detect_every=detect_every)
    frames = [a_frame(index) for index in range(5)]
    pairs = list(streamed.stream(frames))
    called = run(boxes, frames, detect_every=detect_every)[1]
    assert [frame for frame, _ in pairs] == frames
    for (_, one), other in zip(pairs, called, strict=True):
        assert one.xyxy.tolist() == other.xyxy.tolist()
        assert one.track_id.tolist() == other.track_id.tolist()


def test_what_a_deadline_carries_keeps_its_identity():
    tracking = TrackingSegmenter(Seeing(moving([(20, 20)], [(1, 1)])), Tracks(PlayedTracker))
    late = DeadlineSegmenter(tracking, carrier(tracking), 1e-3, now_ns=lambda: int(1e12))
    found = [late(a_frame(index)) for index in range(4)]
    assert any("carried_boxes" in shed for _, shed in found)
    assert all(objects.track_id is not None for objects, _ in found if objects is not None)


def test_detection_cannot_be_left_out_altogether():
    with pytest.raises(UsageError, match=r"^detect_every: wanted a number from 1, got 0$"):
        TrackingSegmenter(Seeing(moving([(0, 0)], [(0, 0)])), Tracks(PlayedTracker), detect_every=0)
