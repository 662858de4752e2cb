"""Regions: objects counted by the share of their masks within, and events of counts that last."""

import numpy as np
import pytest

from nanoseg.service.config import RegionConfig
from nanoseg.service.regions import Region, polygon_px
from tests.fakes.segmenter import detections

HALF = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]  # the right one
SIZE = (100, 200)


def found(*boxes, classes=None):
    return detections(SIZE, boxes, classes or [0] * len(boxes)).materialize()


@pytest.mark.parametrize(
    ("box", "share", "expected"),
    [
        ((120, 20, 180, 80), 0.5, 1),
        ((20, 20, 80, 80), 0.5, 0),
        ((80, 20, 140, 80), 0.5, 1),  # two thirds within
        ((80, 20, 140, 80), 0.9, 0),
        ((60, 20, 120, 80), 0.5, 0),  # one third
        ((60, 20, 120, 80), 0.2, 1),
    ],
)
def test_region_counts_by_the_share_of_the_mask(box, share, expected):
    region = Region(RegionConfig("a", "r", HALF, share))
    region.update(found(box), SIZE, 0.0)
    assert region.counts.total() == expected


def test_region_counts_by_the_mask_and_not_by_the_box():
    mask = np.zeros((1, *SIZE), bool)
    mask[:, 20:80, 20:95] = True  # the box reaches far into the region, the mask does not
    inside = detections(SIZE, [(20, 20, 180, 80)], [0], masks=mask).materialize()
    region = Region(RegionConfig("a", "r", HALF))
    region.update(inside, SIZE, 0.0)
    assert region.counts == {}


def test_region_counts_the_classes_that_it_names():
    region = Region(RegionConfig("a", "r", HALF, classes=["nut"]))
    region.update(found((120, 20, 140, 80), (150, 20, 180, 80), classes=[0, 1]), SIZE, 0.0)
    assert region.counts == {"nut": 1}


def test_region_in_fractions_fits_a_camera_that_changes_its_size():
    assert polygon_px(HALF, (100, 200)).max(0).tolist() == [200, 100]
    assert polygon_px([(0, 0), (50, 0), (0, 50)], (100, 200)).max(0).tolist() == [50, 50]
    region = Region(RegionConfig("a", "r", HALF))
    region.update(found((120, 20, 180, 80)), SIZE, 0.0)
    region.update(detections((50, 100), [(60, 10, 90, 40)], [0]).materialize(), (50, 100), 1.0)
    assert region.counts == {"bolt": 1}


def test_region_events_are_of_counts_that_last():
    """A count that blinks for less than a second is none; a dwell comes once for a presence."""
    region, box, happened = Region(RegionConfig("a", "r", HALF, dwell_s=5.0)), (120, 20, 180, 80), []
    other = (150, 20, 190, 80)
    for tenth in range(300):
        now_s = tenth / 10
        boxes = {tenth < 10: (), 10 <= tenth < 200: (box,), tenth >= 200: ()}[True]
        if tenth in (50, 51, 52):  # the detector blinks
            boxes = ()
        if 100 <= tenth < 150:
            boxes = (box, other)
        for event in region.update(found(*boxes), SIZE, now_s):
            happened.append((round(now_s, 1), event["event"], event["count"], event.get("dwell_s")))
    assert happened == [
        (2.0, "enter", 1, None),
        (6.0, "dwell", 1, 5.0),
        (11.0, "enter", 2, None),
        (16.0, "leave", 1, None),
        (21.0, "leave", 0, None),
    ]


BOX = (120, 20, 180, 80)


@pytest.mark.parametrize(
    ("counts", "expected"),  # at each half second
    [
        ([0, *[4, 5] * 8], [(1.5, "enter", 4), (5.5, "dwell", 4)]),  # it flickers, and somebody is there
        (
            [0, *[5, 4] * 4, *[4, 3] * 4, 0, 0, 0],
            [(1.5, "enter", 4), (5.5, "dwell", 4), (9.0, "leave", 3), (9.5, "leave", 0)],
        ),
        ([3, 3, 3, *[2, 1] * 3, 1, 1], [(1.0, "enter", 3), (2.5, "leave", 2), (5.0, "leave", 1), (5.0, "dwell", 1)]),
        ([1, 0] * 8, []),
    ],
)
def test_region_events_where_a_count_flickers(counts, expected):
    region, happened = Region(RegionConfig("a", "r", HALF, dwell_s=5.0)), []
    for index, count in enumerate(counts):
        for event in region.update(found(*[BOX] * count), SIZE, index / 2):
            happened.append((index / 2, event["event"], event["count"]))
    assert happened == expected


@pytest.mark.parametrize("later_s", [3600.0, -500.0])  # the camera was lost; another one has its name
def test_region_time_without_frames_is_no_presence(later_s):
    region, happened = Region(RegionConfig("a", "r", HALF, dwell_s=5.0)), []
    for now_s in [0.0, 1.0, 2.0, *(later_s + second for second in range(8))]:
        happened += [(now_s, event["event"]) for event in region.update(found(BOX), SIZE, now_s)]
    assert happened == [(1.0, "enter"), (later_s + 5, "dwell")]


def test_region_who_left_while_no_frame_came_does_not_dwell():
    region, happened = Region(RegionConfig("a", "r", HALF, dwell_s=0.5)), []
    for now_s, count in [(0.0, 1), (1.0, 1), *((60.0 + step / 4, 0) for step in range(6))]:
        happened += [(now_s, event["event"]) for event in region.update(found(*[BOX] * count), SIZE, now_s)]
    assert happened == [(1.0, "enter"), (1.0, "dwell"), (61.0, "leave")]
