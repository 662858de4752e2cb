"""Prompts: what is taken, what is made of it, what is refused."""

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.types import Prompts

NAN = float("nan")
BOX, OTHER = [1, 2, 3, 4], [5, 6, 7, 8]
MASK = np.arange(16, dtype=np.float32).reshape(4, 4)


def test_prompts_box_is_its_two_corners():
    prompts = Prompts.from_boxes([[1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(prompts.coords, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(prompts.labels, [[2, 3], [2, 3]])
    assert prompts.coords.dtype == prompts.labels.dtype == np.float32


@pytest.mark.parametrize(("boxes", "count"), [([], 0), (np.zeros((0, 4)), 0), ([1, 2, 3, 4], 1), ([[1, 2, 1, 2]], 1)])
def test_prompts_boxes_of_any_number(boxes, count):
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
        ([[1, 2, 1e300, 4]], r"boxes\[0\]: wanted finite"),
        ([[10**400, 1, 2, 3]], "boxes: wanted numbers in rows of one length: int too large to convert to float"),
        (np.full((1, 4), 1 + 1j), "boxes: wanted numbers in rows of one length: these are complex"),
        ([[1, 2j, 3, 4]], "boxes: wanted numbers"),
        ([[1, 2, 3, 4], [5]], "boxes: wanted numbers in rows of one length"),
        (["left"], "boxes: wanted numbers"),
    ],
)
def test_prompts_refuse_invalid_boxes(boxes, message):
    with pytest.raises(UsageError, match=message):
        Prompts.from_boxes(boxes)


def test_prompts_points_get_sams_padding_point_and_short_prompts_absent_ones():
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
        ([[[1, 2]], []], [[1], []], r"prompts\[1\]: wanted a box, a point or a mask, got none"),
        ([[1, 2]], [1], r"points\[0\]: wanted \(P, 2\)"),
        (5, [[1]], "points: wanted a list with one entry a prompt, got int"),
        ([[[1, 2]]], np.array(1), "labels: wanted a list with one entry a prompt, got ndarray"),
        ([[[1, 2]]], [[7]], r"labels\[0\]: wanted 1, 0, 2, 3, -1 or -2"),
        ([[[1, NAN]]], [[1]], r"points\[0\]: wanted finite"),
        ([[[1, 2], [3]]], [[1, 1]], r"points\[0\]: wanted numbers"),
        ([[[1, 2], [3, 4]]], [[-2, -2]], r"prompts\[0\]: wanted a box, a point or a mask, got none"),
    ],
)
def test_prompts_refuse_points_that_do_not_fit(points, labels, message):
    with pytest.raises(UsageError, match=message):
        Prompts.from_points(points, labels)


# What segment-anything's predictor makes of it: points, then the padding point or the corners of the box.
ONE_PROMPT = {
    "box": ({"boxes": [BOX]}, [(1, 2, 2), (3, 4, 3)]),
    "point": ({"points": [[[9, 8]]], "labels": [[1]]}, [(9, 8, 1), (0, 0, -1)]),
    "points": ({"points": [[[9, 8], [7, 6]]], "labels": [[1, 0]]}, [(9, 8, 1), (7, 6, 0), (0, 0, -1)]),
    "box and point": ({"boxes": [BOX], "points": [[[9, 8]]], "labels": [[0]]}, [(9, 8, 0), (1, 2, 2), (3, 4, 3)]),
    "box of no point": ({"boxes": [BOX], "points": [[]], "labels": [None]}, [(1, 2, 2), (3, 4, 3)]),
    "point of no box": ({"boxes": [None], "points": [[[9, 8]]], "labels": [[1]]}, [(9, 8, 1), (0, 0, -1)]),
    "mask": ({"mask_input": [MASK]}, [(0, 0, -2)]),
    "mask and point": ({"mask_input": [MASK], "points": [[[9, 8]]], "labels": [[1]]}, [(9, 8, 1), (0, 0, -1)]),
    "mask and box": ({"mask_input": MASK[None, None], "boxes": BOX}, [(1, 2, 2), (3, 4, 3)]),
    "no mask": ({"mask_input": [None], "boxes": [BOX]}, [(1, 2, 2), (3, 4, 3)]),
}


@pytest.mark.parametrize("case", ONE_PROMPT)
def test_prompts_one_prompt_is_what_sams_predictor_makes_of_it(case):
    given, wanted = ONE_PROMPT[case]
    prompts = Prompts.of(**given)
    np.testing.assert_array_equal(np.dstack([prompts.coords, prompts.labels]), [wanted])
    assert prompts.coords.dtype == prompts.labels.dtype == np.float32
    masked = case.startswith("mask")
    assert (prompts.mask_input is not None) == (prompts.has_mask is not None) == masked
    if masked:
        np.testing.assert_array_equal(prompts.mask_input, MASK[None, None])
        np.testing.assert_array_equal(prompts.has_mask, np.float32([1]))
        assert prompts.mask_input.dtype == prompts.has_mask.dtype == np.float32


def test_prompts_mixture_is_each_by_itself_filled_with_absent_points():
    prompts = Prompts.of(
        boxes=[BOX, None, OTHER, None],
        points=[None, [[9, 8], [7, 6]], np.array([[5, 5]]), []],
        labels=[None, [1, 0], np.array([1]), []],
        mask_input=[None, MASK, None, MASK[None]],
    )
    rows = [
        ({"boxes": [BOX]}, False),
        ({"points": [[[9, 8], [7, 6]]], "labels": [[1, 0]]}, True),
        ({"boxes": [OTHER], "points": [[[5, 5]]], "labels": [[1]]}, False),
        ({"mask_input": [MASK]}, True),
    ]
    assert len(prompts) == 4
    assert prompts.labels.shape == (4, 3)
    np.testing.assert_array_equal(prompts.has_mask, [0, 1, 0, 1])
    for i, (given, masked) in enumerate(rows):
        wanted = Prompts.of(**given)
        alone, there = prompts.single(i), wanted.labels[0] != -2
        np.testing.assert_array_equal(alone.coords, wanted.coords[:, there])
        np.testing.assert_array_equal(alone.labels, wanted.labels[:, there])
        np.testing.assert_array_equal(alone.mask_input[0, 0], MASK if masked else 0 * MASK)
        assert alone.has_mask.tolist() == [masked]
    assert prompts.single(3).coords.shape == (1, 0, 2)
    some = prompts[1:3]
    np.testing.assert_array_equal(some.labels, prompts.labels[1:3])
    np.testing.assert_array_equal(some.mask_input, prompts.mask_input[1:3])
    assert len(some) == 2


def test_prompts_absent_point_is_none():
    prompts = Prompts.of(points=[[[5, 5]], [[5, 5], [6, 7]]], labels=[[-2], [-2, 1]], mask_input=[MASK, None])
    assert sorted(prompts.labels[0]) == [-2, -2, -2]
    assert sorted(prompts.labels[1]) == [-2, -1, 1]


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"mask_input": MASK[None, None]}, "has_mask"), ({"has_mask": np.ones(1, np.float32)}, "mask_input")],
)
def test_prompts_masks_and_which_prompts_have_them_come_together(given, missing):
    box = Prompts.from_boxes(BOX)
    with pytest.raises(UsageError, match=f"wanted mask_input and has_mask together, {missing} is missing"):
        Prompts(box.coords, box.labels, **given)


@pytest.mark.parametrize("nothing", [{"points": [], "labels": []}, {"boxes": []}, {"mask_input": []}])
def test_prompts_no_prompts_at_all(nothing):
    prompts = Prompts.of(**nothing)
    assert len(prompts) == 0
    assert prompts.coords.shape[0] == prompts.labels.shape[0] == 0
    assert prompts.mask_input is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "prompts: wanted boxes, points with labels, or mask_input, got none"),
        ({"points": [[[1, 2]]]}, "points: wanted together with labels"),
        ({"labels": [[1]], "boxes": [BOX]}, "points: wanted together with labels"),
        ({"boxes": [BOX, None]}, r"prompts\[1\]: wanted a box, a point or a mask, got none"),
        ({"boxes": [None, [9, 2, 3, 4]]}, r"boxes\[1\]: wanted finite left <= right"),
        ({"boxes": [None, [9, 2, 3]]}, "boxes: wanted numbers in rows of one length"),
        (
            {"boxes": [BOX, OTHER], "points": [[[1, 2]]], "labels": [[1]]},
            "prompts: wanted one entry a prompt in each, None where it has none, got boxes 2, points 1",
        ),
        ({"boxes": BOX, "mask_input": [MASK, MASK]}, "got boxes 1, mask_input 2"),
        ({"mask_input": [MASK, MASK[:3, :3]]}, r"mask_input\[1\]: wanted .4, 4. as the masks before it, got 3"),
        ({"mask_input": [MASK[:3]]}, r"mask_input\[0\]: wanted \(4g, 4g\) or \(1, 4g, 4g\) logits, got shape \(3, 4\)"),
        ({"mask_input": MASK}, r"mask_input\[0\]: wanted \(4g, 4g\).* got shape \(4,\)"),
        ({"mask_input": [MASK > 3]}, r"mask_input\[0\]: wanted logits, such as Masks.logits .* got bool"),
        ({"mask_input": [MASK * NAN]}, r"mask_input\[0\]: wanted finite logits"),
        ({"mask_input": 3}, "mask_input: wanted a list with one entry a prompt, got int"),
        ({"mask_input": ["x"]}, r"mask_input\[0\]: wanted numbers"),
    ],
)
def test_prompts_refuse_mixtures_that_do_not_fit(given, message):
    with pytest.raises(UsageError, match=message):
        Prompts.of(**given)
