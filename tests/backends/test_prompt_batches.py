"""Prompts of every mixture through fake decoders: laws of many and one, of masks, and of what a decoder can take."""

import numpy as np
import pytest

from nanoseg.backends.prompt_batches import PROMPTS_PER_CALL
from nanoseg.errors import BundleError, UsageError
from nanoseg.types import Prompts
from tests.data.fill_weights import image_u8
from tests.fakes.engines import GRID, fake_engines, rows, segmenter_of

IMAGE = image_u8(1, 48, 64)
SIDE = 4 * GRID


def segmenter(masks=1, prompts=None, points=None, takes_masks=False):
    return segmenter_of(fake_engines(rows([[4, 5, 30, 40]], [0.9], [2]), masks, prompts, points, takes_masks))


def mixture(count, seed=5):
    """Boxes, points, both and masks of any number of points, as `segment` takes them."""
    rng = np.random.default_rng(seed)
    given = {"boxes": [], "points": [], "labels": [], "mask_input": []}
    for i in range(count):
        corner, spots = rng.uniform(0, 30, 2), rng.integers(0, 4)
        given["boxes"].append([*corner, *(corner + rng.uniform(2, 15, 2))] if i % 3 != 1 else None)
        given["points"].append(rng.uniform(0, 40, (spots, 2)))
        given["labels"].append(rng.integers(0, 2, spots))
        mask = rng.normal(0, 3, (SIDE, SIDE)).astype(np.float32)
        given["mask_input"].append(mask if i % 2 or (i % 3 == 1 and not spots) else None)
    return given


def pick(given, order):
    return {name: [values[i] for i in order] for name, values in given.items()}


def same(masks, others, order=slice(None)):
    np.testing.assert_array_equal(masks.logits[order], others.logits)
    np.testing.assert_array_equal(masks.confidence[order], others.confidence)


@pytest.mark.parametrize("count", [1, 7, PROMPTS_PER_CALL + 3])
def test_prompt_batches_prompts_in_one_call_are_those_prompts_one_by_one(count):
    pipeline, given = segmenter(takes_masks=True), mixture(count)
    embedding = pipeline.embed(IMAGE)
    together = pipeline.segment(embedding, **given)
    for i in range(count):
        same(together, pipeline.segment(embedding, **pick(given, [i])), slice(i, i + 1))


def test_prompt_batches_order_of_prompts_is_the_order_of_masks():
    pipeline, given = segmenter(takes_masks=True), mixture(9)
    embedding, order = pipeline.embed(IMAGE), np.random.default_rng(1).permutation(9)
    same(pipeline.segment(embedding, **given), pipeline.segment(embedding, **pick(given, order)), order)


def test_prompt_batches_decoder_that_does_not_know_absent_points_never_sees_one():
    given = mixture(9)
    given["boxes"] = [box or [1, 2, 30, 20] for box in given["boxes"]]  # no mask alone
    answers = []
    for prompts in (None, 1):
        pipeline = segmenter(prompts=prompts, takes_masks=True)
        answers.append(pipeline.segment(pipeline.embed(IMAGE), **given))
    same(*answers)
    labels = [call["point_labels"] for call in pipeline.pipeline.engines["segment_mask"].calls]
    assert [len(call) for call in labels] == [1] * 9
    assert not any((call == -2).any() for call in labels)
    assert len({call.shape[1] for call in labels}) > 2


def test_prompt_batches_decoder_of_so_many_points_takes_no_other_number():
    pipeline = segmenter(prompts=1, points=2)
    embedding = pipeline.embed(IMAGE)
    assert len(pipeline.segment(embedding, boxes=[[1, 2, 3, 4], [5, 6, 7, 8]])) == 2
    assert len(pipeline.segment(embedding, points=[[[1, 2]]], labels=[[1]])) == 1
    message = r"prompts\[0\]: segment.onnx takes exactly 2 points a prompt, got 3; a box is"
    with pytest.raises(UsageError, match=message):
        pipeline.segment(embedding, boxes=[[1, 2, 3, 4]], points=[[[1, 2]]], labels=[[1]])


def test_prompt_batches_mask_alone_is_no_prompt_of_a_decoder_that_wants_a_point():
    mask = np.ones((1, SIDE, SIDE), np.float32)
    for prompts in (None, 1):
        pipeline = segmenter(prompts=prompts, takes_masks=True)
        embedding = pipeline.embed(IMAGE)
        if prompts is None:
            np.testing.assert_array_equal(pipeline.segment(embedding, mask_input=mask).logits, mask - 1)
            np.testing.assert_array_equal(pipeline.pipeline.engines["segment_mask"].calls[0]["point_labels"], [[-2]])
        else:
            with pytest.raises(
                UsageError, match=r"prompts\[0\]: this bundle's decoder wants a box or a point beside a"
            ):
                pipeline.segment(embedding, mask_input=mask)


def test_prompt_batches_prompts_with_and_without_masks_are_one_call():
    pipeline = segmenter(takes_masks=True)
    mask = np.random.default_rng(3).normal(size=(1, SIDE, SIDE)).astype(np.float32)
    embedding, boxes = pipeline.embed(IMAGE), [[1, 2, 30, 20], [5, 6, 40, 30]]
    masks = pipeline.segment(embedding, boxes=boxes, mask_input=[None, mask])
    (call,), plain = pipeline.pipeline.engines["segment_mask"].calls, pipeline.pipeline.engines["segment"].calls
    assert plain == []
    np.testing.assert_array_equal(call["has_mask_input"], np.float32([0, 1]))
    np.testing.assert_array_equal(call["mask_input"], [np.zeros_like(mask), mask])
    np.testing.assert_array_equal(masks.logits[:1], pipeline.segment(embedding, boxes=boxes[:1]).logits)
    assert (masks.logits[1] != pipeline.segment(embedding, boxes=boxes[1:]).logits[0]).any()


def test_prompt_batches_without_a_mask_the_decoder_of_masks_is_not_asked():
    pipeline = segmenter(takes_masks=True)
    embedding = pipeline.embed(IMAGE)
    pipeline.segment(embedding, boxes=[[1, 2, 30, 20]], mask_input=[None])
    pipeline(IMAGE)
    assert pipeline.pipeline.engines["segment_mask"].calls == []
    assert len(pipeline.pipeline.engines["segment"].calls) == 2


def test_prompt_batches_prompts_made_before_are_the_same():
    pipeline, given = segmenter(takes_masks=True), mixture(5)
    embedding = pipeline.embed(IMAGE)
    same(pipeline.segment(embedding, **given), pipeline.segment(embedding, prompts=Prompts.of(**given)))


@pytest.mark.parametrize("prompts", [None, 1])
def test_prompt_batches_all_masks_lie_one_after_another(prompts):
    pipeline = segmenter(masks=4, prompts=prompts)
    embedding, boxes = pipeline.embed(IMAGE), [[i, 2, i + 20, 30] for i in range(PROMPTS_PER_CALL + 2)]
    every = pipeline.segment(embedding, boxes=boxes, all_masks=True)
    assert len(every) == 4 * len(boxes)
    np.testing.assert_array_equal(every.prompt, np.repeat(np.arange(len(boxes)), 4))
    assert every.logits[8:12].max((1, 2)).tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(every.confidence[8:12], np.linspace(0.5, 0.9, 4) + 2 / 10_000, rtol=1e-6)
    best = every.best()
    same(pipeline.segment(embedding, boxes=boxes), best)
    assert best.prompt.tolist() == list(range(len(boxes)))
    assert len(pipeline.segment(embedding, boxes=[], all_masks=True)) == 0


def test_prompt_batches_all_masks_of_a_bundle_that_gives_one():
    # It may keep the best of four, or its decoder gives no more.
    pipeline = segmenter(masks=1)
    message = "all_masks: fake gives one mask a prompt; .* --masks all, of a decoder that gives four"
    with pytest.raises(UsageError, match=message):
        pipeline.segment(pipeline.embed(IMAGE), boxes=[1, 2, 3, 4], all_masks=True)


def test_prompt_batches_prompts_are_checked_before_anything_is_embedded():
    box = Prompts.from_boxes([1, 2, 3, 4])
    masked = Prompts.of([1, 2, 3, 4], mask_input=[np.ones((SIDE, SIDE))])
    segmenter(masks=4, takes_masks=True).check(masked, all_masks=True)
    segmenter().check(box)
    with pytest.raises(BundleError, match=r"has no segment_mask\.onnx"):
        segmenter().check(masked)
    with pytest.raises(UsageError, match="all_masks: "):
        segmenter().check(box, all_masks=True)


def test_prompt_batches_masks_for_a_bundle_that_takes_none():
    pipeline = segmenter()
    mask = np.zeros((1, SIDE, SIDE), np.float32)
    with pytest.raises(BundleError, match=r"fake: has no segment_mask.onnx, .* --mask-decoder FILE"):
        pipeline.segment(pipeline.embed(IMAGE), boxes=[1, 2, 3, 4], mask_input=mask)


def test_prompt_batches_masks_of_another_size():
    pipeline = segmenter(takes_masks=True)
    with pytest.raises(UsageError, match=r"mask_input: wanted logits .32, 32., .*, got 16"):
        pipeline.segment(pipeline.embed(IMAGE), boxes=[1, 2, 3, 4], mask_input=np.zeros((1, 16, 16)))


def test_prompt_batches_prompts_and_something_beside_them():
    pipeline = segmenter()
    with pytest.raises(UsageError, match="segment: wanted either prompts, or boxes"):
        pipeline.segment(pipeline.embed(IMAGE), boxes=[1, 2, 3, 4], prompts=Prompts.from_boxes([1, 2, 3, 4]))


@pytest.mark.parametrize("prompts", [None, 1])
@pytest.mark.parametrize("count", [1, 2, PROMPTS_PER_CALL, PROMPTS_PER_CALL + 3])
def test_prompt_batches_decoder_takes_prompts_in_as_many_calls_as_it_needs(prompts, count):
    pipeline = segmenter(prompts=prompts)
    boxes = np.array([[i, 2, i + 20, 30] for i in range(count)], np.float32)
    masks = pipeline.segment(pipeline.embed(IMAGE), boxes=boxes)
    assert len(masks) == count
    np.testing.assert_allclose(masks.confidence, 0.5 + np.arange(count) / 10_000, rtol=1e-6)
    assert all(mask[20, i + 10] for i, mask in enumerate(masks.full()))
    calls = pipeline.pipeline.engines["segment"].calls
    assert max(len(call["point_coords"]) for call in calls) <= (prompts or PROMPTS_PER_CALL)
