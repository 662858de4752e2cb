"""Matching of class names."""

import pytest

from nanoseg.evaluation.scenes import match_labels


@pytest.mark.parametrize(
    ("present", "names", "class_ids", "missing"),
    [
        ("bolt nut", "bolt nut", [0, 1], []),
        ("bolt nut", "gear nut bolt", [2, 1], []),
        ("nut", "gear nut", [-1, 1], []),  # a split of a data set may contain fewer classes than its file lists
        ("bolt nut", "gear nut", [-1, 1], ["bolt"]),
        ("", "gear", [-1, -1], []),
    ],
)
def test_scenes_match_labels(present, names, class_ids, missing):
    got, unknown = match_labels(("bolt", "nut"), present.split(), names.split())
    assert (got.tolist(), unknown) == (class_ids, missing)


def test_scenes_match_labels_of_the_same_name():
    assert match_labels(("nut", "nut"), {"nut"}, ("nut", "nut"))[0].tolist() == [0, 1]
