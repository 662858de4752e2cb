"""Keypoints on every backend: they belong to their boxes, in pixels of the frame, whoever did NMS."""

import numpy as np
import pytest

from nanoseg.processing.geometry import Padding
from tests.data.fill_weights import image_u8

IMAGE = image_u8(3, 120, 160)


@pytest.mark.parametrize("nms", [None, "across-classes"])
def test_poses_belong_to_their_boxes(run_poses, nms):
    """The first two of each lie at the corners of its box, which is clipped to the frame, unlike them."""
    with run_poses.load(nms=nms) as segmenter:
        found = segmenter(IMAGE, confidence=0.2)
        boxes = segmenter.detect(IMAGE, confidence=0.2)
    assert segmenter.bundle.padding == Padding(centred=False, value=127)
    assert len(found) > 5
    assert found.keypoints.shape == (len(found), 3, 3)
    height, width = IMAGE.shape[:2]
    corners = found.keypoints[:, :2, :2].clip(0, [width, height])
    np.testing.assert_allclose(corners.reshape(-1, 4), found.xyxy, atol=1e-2)
    middle = found.keypoints[:, :2, :2].mean(1)
    np.testing.assert_allclose(found.keypoints[:, 2, :2], middle, atol=1e-2)
    np.testing.assert_allclose(found.keypoints[..., 2], np.tile([0.9, 0.8, 0.3], (len(found), 1)), atol=1e-2)
    np.testing.assert_allclose(boxes.keypoints, found.keypoints, atol=1e-4)
    assert found.keypoint_set.names == ["head", "foot", "belt"]


def test_poses_are_chosen_with_their_objects(run_poses):
    with run_poses.load() as segmenter:
        every, few = segmenter(IMAGE, confidence=0.2), segmenter(IMAGE, confidence=0.2, max_objects=3)
    np.testing.assert_allclose(few.keypoints, every.keypoints[:3], atol=1e-4)
    chosen = every.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.keypoints, every.keypoints[[2, 0]])


def test_poses_of_frames_of_a_stream_are_their_own(run_poses):
    frames = [image_u8(i, 120, 160) // (i + 1) for i in range(3)]
    with run_poses.load() as segmenter:
        wanted = [segmenter(frame).keypoints for frame in frames]
        found = [objects.keypoints.copy() for _, objects in segmenter.stream(frames)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
