"""Overlap of boxes, against that of their pixels."""

import numpy as np

from nanoseg.evaluation.miou import mask_iou
from nanoseg.processing.boxes import box_iou


def test_boxes_iou_is_the_iou_of_the_pixels():
    rng = np.random.default_rng(1)
    one, other = (np.sort(rng.integers(0, 30, (9, 2, 2)), axis=1).reshape(9, 4) for _ in range(2))

    def pixels(box):
        mask = np.zeros((30, 30), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask

    expected = [[mask_iou(pixels(a), pixels(b)) for b in other] for a in one]
    np.testing.assert_allclose(box_iou(one, other), expected, atol=1e-12)
