"""Classes by name or id."""

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.processing.classes import class_ids

LABELS = ("hex bolt", "hex nut", "Gear", "7", "gear")


@pytest.mark.parametrize(
    ("classes", "ids"),
    [
        (None, None),
        (["hex nut"], [1]),
        (["gear", "Gear", "hex bolt"], [0, 2, 4]),  # the exact name goes first
        ([" HEX BOLT "], [0]),
        (["7"], [3]),  # a name, not an id
        (["1", 2, np.int64(0)], [0, 1, 2]),
        ("hex nut", [1]),
        (4, [4]),
    ],
)
def test_class_ids(classes, ids):
    got = class_ids(classes, LABELS)
    assert (got if got is None else got.tolist()) == ids


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "wanted at least one of hex bolt"),
        (["hex nit"], "no such class: hex nit; did you mean hex nut"),
        (["GEAR"], "no such class: GEAR; did you mean Gear"),
        (["5"], "no such class: 5 .*or an id below 5"),
        ([-1], "no such class: -1"),
        ([""], "no such class: "),
        (["9" * 5000], "no such class: 999"),
    ],
)
def test_class_ids_refused(classes, message):
    with pytest.raises(UsageError, match=message):
        class_ids(classes, LABELS)
