"""`nanoseg.load` on the embedded bundle: prompts in mixtures, and other ways of resizing."""

import numpy as np
import pytest

import nanoseg
from nanoseg.processing.boxes import shared_prompts
from nanoseg.processing.tiles import NOT_COMPUTED

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")


@pytest.fixture(scope="module")
def parts():
    """The embedded bundle on one frame of the line, whose decoder is SAM's."""
    from nanoseg.sources.simulator.line import SimulatedLine

    with nanoseg.load("parts") as segmenter:
        frame = SimulatedLine(5).frame(20)
        yield segmenter, frame, segmenter.embed(frame)


MIXTURE = {
    "boxes": [[300, 220, 450, 370], None, [20, 30, 200, 190], None, [0, 0, 640, 480]],
    "points": [[[380, 300], [310, 230]], [[100, 100]], None, [[200, 200], [220, 210], [90, 400]], []],
    "labels": [[1, 0], [1], None, [1, 1, 0], []],
}


def close(masks, others):
    np.testing.assert_allclose(masks.logits, others.logits, atol=5e-3)
    np.testing.assert_allclose(masks.confidence, others.confidence, atol=1e-4)


def test_load_mixture_in_one_call_is_each_by_itself(parts):
    segmenter, _, embedding = parts
    together = segmenter.segment(embedding, **MIXTURE)
    assert len(together) == 5
    for i in range(5):
        alone = segmenter.segment(embedding, **{name: values[i : i + 1] for name, values in MIXTURE.items()})
        np.testing.assert_allclose(together.logits[i], alone.logits[0], atol=5e-3)
        np.testing.assert_allclose(together.confidence[i], alone.confidence[0], atol=1e-4)
    order = [3, 0, 4, 2, 1]
    turned = segmenter.segment(embedding, **{k: [values[i] for i in order] for k, values in MIXTURE.items()})
    np.testing.assert_allclose(turned.logits, together.logits[order], atol=5e-3)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_load_absent_points_change_nothing_and_a_padding_point_does(parts, where):
    segmenter, _, embedding = parts
    points, labels = [[380.0, 300], [310, 230]], [1, 0]
    plain = segmenter.segment(embedding, points=[points], labels=[labels])
    far = [[[*points[:where], [77, 99], [5, 5], *points[where:]]], [[*labels[:where], -2, -2, *labels[where:]]]]
    close(segmenter.segment(embedding, points=far[0], labels=far[1]), plain)
    padded = [[*points, [0, 0], [0, 0]]], [[*labels, -1, -1]]
    other = segmenter.segment(embedding, points=padded[0], labels=padded[1])
    assert np.abs(other.logits - plain.logits).max() > 0.1


def test_load_segment_of_a_detected_box_equals_the_detection(parts):
    segmenter, frame, embedding = parts
    found = segmenter(frame)
    asked, own = shared_prompts(found.xyxy)
    assert len(found) > len(asked) > 1  # a second name of an object has its mask
    calls = segmenter.segment(embedding, boxes=found.xyxy[asked]).select(own)
    near = found.masks.logits != NOT_COMPUTED
    np.testing.assert_allclose(calls.logits[near], found.masks.logits[near], atol=5e-3)
    np.testing.assert_allclose(calls.confidence, found.masks.confidence, atol=1e-4)
    # Only what lies beyond the boxes differs.
    for detected, whole, (left, top, right, bottom) in zip(
        found.mask, calls.full(), found.xyxy[asked][own].astype(int), strict=True
    ):
        assert not (detected & ~whole).any()
        np.testing.assert_array_equal(detected[top:bottom, left:right], whole[top:bottom, left:right])


@pytest.mark.parametrize("resize", ["pil", "nanosam"])
def test_load_other_ways_of_resizing_find_nearly_the_same(parts, resize):
    pytest.importorskip("PIL", reason="needs nanoseg[eval]")
    segmenter, frame, embedding = parts
    boxes = segmenter(frame).xyxy
    usual = segmenter.segment(embedding, boxes=boxes)
    with nanoseg.load("parts", resize=resize) as other:
        its_embedding = other.embed(frame)
        assert its_embedding.geometry.resize == resize
        assert (its_embedding.array != embedding.array).any()
        masks = other.segment(its_embedding, boxes=boxes)
    for one, two in zip(usual.full(), masks.full(), strict=True):
        assert (one & two).sum() / (one | two).sum() > 0.9
