"""Overlap of boxes, against that of their pixels."""

import numpy as np

from nanoseg.evaluation.miou import mask_iou
from nanoseg.processing.boxes import SHARED_IOU, box_iou, shared_prompts


def test_boxes_iou_is_the_iou_of_the_pixels():
    rng = np.random.default_rng(1)
    one, other = (np.sort(rng.integers(0, 30, (9, 2, 2)), axis=1).reshape(9, 4) for _ in range(2))

    def pixels(box):
        mask = np.zeros((30, 30), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask

    expected = [[mask_iou(pixels(a), pixels(b)) for b in other] for a in one]
    np.testing.assert_allclose(box_iou(one, other), expected, atol=1e-12)


def test_boxes_share_a_prompt_where_they_nearly_are_the_same():
    """Chains do not join: the third overlaps the second, which is no prompt, by .85, and the first by .73."""
    boxes = [[0, 0, 100, 10], [8, 0, 108, 10], [16, 0, 116, 10], [0, 0, 100, 10.1], [300, 0, 400, 10], [5, 5, 5, 5]]
    xyxy = np.array([*boxes, boxes[-1]], np.float32)
    iou = box_iou(xyxy, xyxy)
    asked, own = shared_prompts(xyxy)
    assert (iou[0, 1] > SHARED_IOU, iou[1, 2] > SHARED_IOU, iou[0, 2] > SHARED_IOU) == (True, True, False)
    assert asked.tolist() == [0, 2, 4, 5, 6]  # boxes without area are prompts of their own
    assert asked[own].tolist() == [0, 0, 2, 0, 4, 5, 6]


def test_boxes_that_do_not_overlap_are_all_prompts():
    asked, own = shared_prompts(np.zeros((0, 4), np.float32))
    assert (asked.tolist(), own.tolist()) == ([], [])
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 60]], np.float32)
    asked, own = shared_prompts(xyxy)
    assert (asked.tolist(), own.tolist()) == ([0, 1, 2], [0, 1, 2])
