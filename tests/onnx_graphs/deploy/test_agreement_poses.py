"""Keypoints that rounding moves count in a detector's agreement, in the size of their boxes."""

import numpy as np
import pytest

from nanoseg.onnx_graphs.deploy.agreement import compare_detections

BOXES = np.array([[0, 0, 40, 10], [5, 5, 5, 5], [100, 100, 180, 120]], np.float32)  # of size 20, empty, of size 40
SCORES = np.array([[0.6], [0.01], [0.3]], np.float32)  # the second is background
KEYPOINTS = np.random.default_rng(0).uniform(0, 200, (3, 4, 3)).astype(np.float32)


def agreement(moved: np.ndarray):
    return compare_detections([(BOXES, SCORES, KEYPOINTS)], [(BOXES, SCORES, KEYPOINTS + moved)])


@pytest.mark.parametrize("px", [0.0, 1.0, 8.0])
def test_agreement_weights_the_keypoints_of_objects(px: float) -> None:
    """Three and four pixels of five: a length; the confidence is no place, background has no weight."""
    found = agreement(px * np.array([0.6, 0.8, 5], np.float32))
    assert found.keypoint_shift == pytest.approx(px * (0.6 / 20 + 0.3 / 40) / 0.9, abs=1e-5)
    assert found.box_iou == pytest.approx(1)
    assert "keypoints move by" in str(found)


def test_agreement_tells_of_lost_keypoints() -> None:
    assert agreement(np.array([0.5, 0, 0], np.float32)).problem == ""
    assert "keypoints are 21% of the box's size (at most 10%)" in agreement(np.array([5, 0, 0], np.float32)).problem


def test_agreement_without_keypoints_has_no_shift() -> None:
    found = compare_detections([(BOXES, SCORES)], [(BOXES, SCORES)])
    assert found.keypoint_shift is None
    assert "keypoints" not in str(found)
