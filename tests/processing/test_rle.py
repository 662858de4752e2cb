"""COCO run lengths against pycocotools, both ways."""

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.processing import rle


def random_masks():
    rng = np.random.default_rng(0)
    yield "empty", np.zeros((7, 5), bool)
    yield "full", np.ones((7, 5), bool)
    yield "no pixels", np.zeros((0, 5), bool)
    yield "one pixel", np.ones((1, 1), bool)
    yield "first pixel", np.arange(35).reshape(5, 7) == 0
    yield "last pixel", np.arange(35).reshape(5, 7) == 34
    yield "one row", rng.random((1, 300)) > 0.5
    yield "one column", rng.random((300, 1)) > 0.5
    yield "whole columns", np.tile(np.arange(40) % 7 < 3, (9, 1))
    yield "large", np.pad(np.ones((600, 900), bool), ((1, 700), (1, 900)))
    for i in range(30):
        height, width = rng.integers(1, 60, 2)
        yield f"random {i}", rng.random((height, width)) > rng.random()


MASKS = list(random_masks())


# pycocotools 2.0.11 lacks NumPy 2's copy keyword.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("mask", [mask for _, mask in MASKS], ids=[name for name, _ in MASKS])
def test_rle_equal_to_pycocotools_both_ways(mask):
    coco = pytest.importorskip("pycocotools.mask", reason="needs nanoseg[eval]")
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = rle.encode(mask)
    assert ours == {"size": [int(side) for side in theirs["size"]], "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(coco.decode(ours), mask)
    np.testing.assert_array_equal(rle.decode(ours), mask)


@pytest.mark.parametrize(
    ("frame_hw", "box"),
    [
        ((50, 60), (10, 20, 30, 45)),
        ((50, 60), (0, 0, 60, 50)),
        ((50, 60), (3, 0, 9, 50)),  # from the top to the bottom: runs go on in the next column
        ((50, 60), (3, 0, 9, 49)),
        ((50, 60), (0, 49, 60, 50)),
        ((50, 60), (59, 0, 60, 50)),
        ((50, 60), (5, 5, 5, 5)),
    ],
)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.9, 1.0])
def test_rle_crop_in_a_frame_is_the_whole_frame(frame_hw, box, density):
    left, top, right, bottom = box
    crop = np.random.default_rng(1).random((bottom - top, right - left)) < density
    frame = np.zeros(frame_hw, bool)
    frame[top:bottom, left:right] = crop
    assert rle.encode_crop(crop, left, top, frame_hw) == rle.encode(frame)
    np.testing.assert_array_equal(rle.decode(rle.encode(frame)), frame)


def test_rle_text_round_trips_numbers_of_every_length():
    edges = [0, 1, 15, 16, 31, 32, 511, 512, 2**14, 2**19, 2**24, 2**29, 2**31]
    counts = np.array(edges + edges[::-1] + [0, 2**31, 0, 2**31], np.int64)
    np.testing.assert_array_equal(rle.from_text(rle.to_text(counts)), counts)


@pytest.mark.parametrize("counts", ["", " ", "o", "oooooooo0", "é", "0p"])
def test_rle_refuses_damaged_counts(counts):
    with pytest.raises(UsageError, match="the record is damaged"):
        rle.from_text(counts)


def test_rle_refuses_counts_of_another_size():
    with pytest.raises(UsageError, match="35 pixels, not 5 x 6"):
        rle.decode({"size": [5, 6], "counts": rle.encode(np.ones((5, 7), bool))["counts"]})
