"""Identities of the service go on over reloads and swaps."""

import pytest

from nanoseg.service.config import ModelConfig
from nanoseg.service.tracking import ServiceTracking
from nanoseg.tracking import library  # noqa: F401 - skipped where it is not installed
from nanoseg.tracking.segmenter import TrackingSegmenter
from tests.tracking.moving import Seeing, a_frame, moving

BOXES = moving([(20, 20)], [(2, 1)])


@pytest.fixture
def service():
    configured = [ModelConfig()]
    return configured, ServiceTracking(lambda: configured[0])


def ids(segment, frames):
    return [segment(a_frame(index)).track_id.tolist() for index in frames]


def test_without_track_the_segmenter_is_itself(service):
    seeing = Seeing(BOXES)
    assert service[1](seeing) is seeing


@pytest.mark.parametrize("after", [ModelConfig(track="bytetrack"), ModelConfig(track="bytetrack", detect_every=3)])
def test_identities_go_on_with_another_segmenter_and_another_configuration(service, after):
    configured, tracking = service
    configured[0] = ModelConfig(track="bytetrack")
    assert ids(tracking(Seeing(BOXES)), range(5))[-1] == [1]
    configured[0] = after
    swapped = Seeing(BOXES)
    assert ids(tracking(swapped), range(5, 8)) == [[1]] * 3
    assert swapped.calls.count("detect") == (3 if after.detect_every == 1 else 1)


def test_another_tracker_starts_anew(service):
    configured, tracking = service
    configured[0] = ModelConfig(track="bytetrack")
    first = tracking(Seeing(BOXES))
    configured[0] = ModelConfig(track="oc-sort")
    assert tracking(Seeing(BOXES)).tracks is not first.tracks
    configured[0] = ModelConfig()
    assert not isinstance(tracking(Seeing(BOXES)), TrackingSegmenter)


def test_cameras_do_not_share_identities(service):
    configured, tracking = service
    configured[0] = ModelConfig(track="bytetrack")
    segment = tracking(Seeing(BOXES))
    seen = {name: [segment(a_frame(i, name)).track_id.item() for i in range(4)][-1] for name in ("belt", "door")}
    assert seen == {"belt": 1, "door": 2}
