"""Prompts: what is taken, what is made of it, what is refused."""

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.geometry import Geometry
from nanoseg.masks import Masks
from nanoseg.types import Detections, Frame, Prompts

NAN = float("nan")


def test_frame_tells_its_size():
    assert Frame(np.zeros((4, 7, 3), np.uint8)).size_hw == (4, 7)


def test_a_box_is_its_two_corners():
    prompts = Prompts.from_boxes([[1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(prompts.coords, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(prompts.labels, [[2, 3], [2, 3]])
    assert prompts.coords.dtype == prompts.labels.dtype == np.float32


@pytest.mark.parametrize(("boxes", "count"), [([], 0), (np.zeros((0, 4)), 0), ([1, 2, 3, 4], 1), ([[1, 2, 1, 2]], 1)])
def test_boxes_of_any_number(boxes, count):
    prompts = Prompts.from_boxes(boxes)
    assert len(prompts) == count
    assert prompts.coords.shape == (count, 2, 2)
    assert prompts.labels.shape == (count, 2)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3], r"boxes: wanted \(N, 4\).*got shape \(1, 3\)"),
        (np.zeros((2, 2, 2)), "boxes: wanted"),
        ([[1, 2, 3, 4], [9, 2, 3, 4]], r"boxes\[1\]: wanted finite left <= right"),
        ([[1, 5, 3, 4]], r"boxes\[0\]: wanted finite left <= right and top <= bottom"),
        ([[1, 2, NAN, 4]], r"boxes\[0\]"),
        ([[1, 2, float("inf"), 4]], r"boxes\[0\]: wanted finite"),
        ([[1, 2, 3, 4], [5]], "boxes: wanted numbers in rows of one length"),
        (["left"], "boxes: wanted numbers"),
    ],
)
def test_boxes_that_are_none(boxes, message):
    with pytest.raises(UsageError, match=message):
        Prompts.from_boxes(boxes)


def test_points_get_sams_padding_point_and_short_prompts_absent_ones():
    prompts = Prompts.from_points([[[1, 2], [3, 4]], [[5, 6]], [[0, 0], [8, 9]]], [[1, 0], [1], [2, 3]])
    np.testing.assert_array_equal(prompts.labels, [[1, 0, -1], [1, -1, -2], [2, 3, -2]])
    np.testing.assert_array_equal(prompts.coords[0], [[1, 2], [3, 4], [0, 0]])
    np.testing.assert_array_equal(prompts.coords[1, 0], [5, 6])


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        ([[[1, 2]]], [], "points: 1 prompts, but labels for 0"),
        ([[[1, 2]]], [[1, 0]], r"points\[0\]: wanted \(P, 2\)"),
        ([[[1, 2, 3]]], [[1]], r"points\[0\]: wanted \(P, 2\)"),
        ([[[1, 2]], []], [[1], []], r"points\[1\]: wanted"),
        ([[[1, 2]]], [[7]], r"labels\[0\]: wanted 1, 0, 2, 3, -1 or -2"),
        ([[[1, NAN]]], [[1]], r"points\[0\]: wanted finite"),
        ([[[1, 2], [3]]], [[1, 1]], r"points\[0\]: wanted numbers"),
    ],
)
def test_points_that_do_not_fit(points, labels, message):
    with pytest.raises(UsageError, match=message):
        Prompts.from_points(points, labels)


def test_to_supervision_carries_everything():
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
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, boxes)
    np.testing.assert_array_equal(theirs.mask, found.mask)
    np.testing.assert_array_equal(theirs.class_id, [1, 0])
    np.testing.assert_array_equal(theirs.data["class_name"], ["nut", "bolt"])
    assert theirs.mask.dtype == bool
    assert theirs.mask[0].any()
    assert not theirs.mask[1].any()
