"""The nouns that a frame goes through."""

from dataclasses import replace

import numpy as np
import pytest

from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from nanoseg.types import Detections, Frame


def test_types_frame_size_and_repr():
    frame = Frame(np.zeros((4, 7, 3), np.uint8), index=3, name="belt.mp4")
    assert frame.size_hw == (4, 7)
    assert repr(frame) == "Frame(3 of belt.mp4, 7x4)"


def test_types_to_supervision_carries_everything():
    supervision = pytest.importorskip("supervision", reason="needs nanoseg[draw]")
    geometry = Geometry.of((40, 64), 64, 60, 64)
    logits = np.full((2, 16, 16), -1, np.float32)
    logits[0, 2:6, 3:9] = 1
    boxes = np.array([[10, 6, 40, 26], [0, 0, 5, 5]], np.float32)
    found = Detections(
        xyxy=boxes,
        confidence=np.array([0.9, 0.8], np.float32),
        class_id=np.array([1, 0]),
        class_name=np.array(["nut", "bolt"]),
        mask_confidence=np.array([0.7, 0.6], np.float32),
        masks=Masks(logits, np.array([0.7, 0.6], np.float32), geometry, boxes),
    )
    assert repr(found) == "Detections(2: 1 nut, 1 bolt)"
    assert repr(found.masks) == "Masks(2 of a 64x40 frame)"
    assert repr(found.materialize().masks) == "RasterMasks(2 of a 64x40 frame)"
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, boxes)
    np.testing.assert_array_equal(theirs.mask, found.mask)
    np.testing.assert_array_equal(theirs.class_id, [1, 0])
    np.testing.assert_array_equal(theirs.data["class_name"], ["nut", "bolt"])
    assert theirs.mask.dtype == bool
    assert theirs.mask[0].any()
    assert not theirs.mask[1].any()
    assert theirs.tracker_id is None
    tracked = replace(found, track_id=np.array([5, -1])).select(np.array([1, 0]))
    assert tracked.to_supervision().tracker_id.tolist() == [-1, 5]
    assert tracked.class_name.tolist() == ["bolt", "nut"]
    np.testing.assert_array_equal(tracked.mask, found.mask[::-1])
