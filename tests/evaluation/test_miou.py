"""Mask IoU and the matching of boxes, against cases worked out by hand."""

import numpy as np
import pytest

from nanoseg.evaluation.miou import MaskIou, match
from tests.evaluation.boxes import NEAR_A, A, B, boxes


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([(A, 0), (B, 1)], [(B, 1, 0.9), (A, 0, 0.8)], [1, 0]),
        ([(A, 0)], [(A, 1, 0.9)], [-1]),
        ([(A, 0)], [([0, 0, 100, 49], 0, 0.9)], [-1]),
        ([(A, 0)], [([0, 0, 100, 50], 0, 0.9)], [0]),
        # The more confident box is matched first, even though the other fits better.
        ([(A, 0)], [(A, 0, 0.5), (NEAR_A, 0, 0.9)], [1]),
        # It takes the one it fits best, and the next takes the other.
        ([(NEAR_A, 0), (A, 0)], [(A, 0, 0.9), (A, 0, 0.8)], [1, 0]),
        ([], [(A, 0, 0.9)], []),
        ([(A, 0)], [], [-1]),
    ],
)
def test_miou_match_by_hand(truth, found, expected):
    truth = boxes([box for box, _ in truth], [class_id for _, class_id in truth])
    found = boxes(*zip(*found, strict=True)) if found else boxes()
    assert match(truth, found).tolist() == expected


def scene(rows, mask_key):
    """Squares (left, top, side, class[, share of its rows that the mask keeps]) on a 300 x 300 frame."""
    masks = np.zeros((len(rows), 300, 300), bool)
    xyxy = []
    for mask, (left, top, side, _, share) in zip(masks, rows, strict=True):
        mask[top : top + int(side * share), left : left + side] = True
        xyxy.append([left, top, left + side, top + side])
    one = boxes(xyxy, [row[3] for row in rows], np.linspace(0.9, 0.5, len(rows)))
    setattr(one, mask_key, masks)
    return one


def test_miou_by_hand():
    ious = MaskIou()
    assert ious.result() == (None, None, None, None)
    truth = [(0, 0, 20, 0, 1), (30, 0, 50, 1, 1), (100, 100, 100, 2, 1), (0, 200, 40, 0, 1)]
    # Small: half its mask. Medium: one whole, one not found. Large: three quarters. And one that is not there.
    found = [(100, 100, 100, 2, 0.75), (0, 0, 20, 0, 0.5), (30, 0, 50, 1, 1), (250, 0, 40, 0, 1)]
    ious.add(scene(truth, "masks"), scene(found, "mask"))
    assert ious.result() == pytest.approx(((0.5 + 1 + 0.75 + 0) / 4, 0.5, 0.5, 0.75))
    ious.add(scene([], "masks"), scene([], "mask"))
    ious.add(scene([(0, 0, 20, 0, 1)], "masks"), scene([], "mask"))
    assert ious.result() == pytest.approx((2.25 / 5, 0.25, 0.5, 0.75))


@pytest.mark.parametrize(("side", "column"), [(31, 1), (32, 2), (95, 2), (96, 3)])
def test_miou_sizes_are_cocos(side, column):
    ious = MaskIou()
    ious.add(scene([(0, 0, side, 0, 1)], "masks"), scene([(0, 0, side, 0, 1)], "mask"))
    assert [i for i, value in enumerate(ious.result()) if value is not None] == [0, column]
