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
