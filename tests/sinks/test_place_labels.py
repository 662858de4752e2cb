"""Places of names: inside the frame, apart from each other, the first ones where they belong."""

import numpy as np
import pytest

from nanoseg.sinks.place_labels import place_labels

FRAME_HW = (480, 640)


def overlaps(places):
    sides = np.minimum(places[:, None, 2:], places[None, :, 2:]) - np.maximum(places[:, None, :2], places[None, :, :2])
    area = np.clip(sides, 0, None).prod(2)
    return area[np.triu_indices(len(places), 1)]


def test_place_labels_first_one_lies_above_its_box():
    places = place_labels(np.array([[100, 100, 200, 200.0]]), np.array([[60, 20]]), FRAME_HW)
    assert places.tolist() == [[100, 80, 160, 100]]


@pytest.mark.parametrize(
    "boxes",
    [
        [[100, 100, 200, 200]] * 8,  # one over the other
        [[5 * i, 0, 5 * i + 90, 90] for i in range(8)],  # along the upper edge
        [[600, 440, 640, 480]] * 3,  # in a corner
        [[x, y, x + 90, y + 90] for x, y in np.random.default_rng(0).uniform(0, 380, (30, 2))],
    ],
)
def test_place_labels_apart_and_inside(boxes):
    boxes = np.array(boxes, float)
    places = place_labels(boxes, np.array([[50, 14]] * len(boxes)), FRAME_HW)
    assert (overlaps(places) > 0).mean() < 0.02
    assert (places >= 0).all()
    assert (places[:, 2:] <= FRAME_HW[::-1]).all()


def test_place_labels_larger_than_the_frame():
    assert place_labels(np.array([[1, 1, 9, 9.0]]), np.array([[60, 20]]), (10, 10)).tolist() == [[0, 0, 60, 20]]


def test_place_labels_of_nothing():
    assert place_labels(np.zeros((0, 4)), np.zeros((0, 2)), FRAME_HW).shape == (0, 4)
