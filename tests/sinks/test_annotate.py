"""Drawing: where the objects are, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from nanoseg.types import Frame, Prompts
from tests.fakes.segmenter import detections

drawing = pytest.importorskip("nanoseg.sinks.annotate", reason="needs supervision", exc_type=ImportError)


def grey(size_hw=(240, 320), level=100):
    return Frame(np.full((*size_hw, 3), level, np.uint8))


def bgr(hexadecimal):
    return np.array([int(hexadecimal[i : i + 2], 16) for i in (5, 3, 1)])


def changed(frame, annotated):
    return (annotated != frame.image).any(-1)


def test_annotate_nothing_detected():
    frame = grey()
    annotated = drawing.Annotator()(frame, detections(frame.size_hw))
    np.testing.assert_array_equal(annotated, frame.image)
    assert not np.shares_memory(annotated, frame.image)


@pytest.mark.parametrize("class_id", [0, 2])
def test_annotate_mask_has_the_colour_of_its_class(class_id):
    frame = grey()
    masks = np.zeros((1, 240, 320), bool)
    masks[0, 100:200, 100:150] = True  # the left half of the box
    detected = detections(frame.size_hw, [[100, 100, 200, 200]], [class_id], masks=masks)
    annotated = drawing.Annotator()(frame, detected)
    color = bgr(drawing.PALETTE[class_id])
    inside, outside = annotated[110:190, 110:140], annotated[110:190, 160:190]
    assert np.abs(inside - (0.6 * 100 + 0.4 * color)).max() <= 1
    assert (outside == 100).all()
    np.testing.assert_array_equal(annotated[150, 200], color)  # the box
    np.testing.assert_array_equal(annotated[150, 100], color)  # the outline
    assert (frame.image == 100).all()


@pytest.mark.parametrize(("track_id", "index"), [(4, 4), (len(drawing.PALETTE) + 3, 3), (-1, 1)])
def test_annotate_tracks_have_colours_of_their_own(track_id, index):
    frame = grey()
    found = replace(detections(frame.size_hw, [[100, 100, 200, 200]], [1]), track_id=np.array([track_id]))
    annotated = drawing.Annotator()(frame, found)
    np.testing.assert_array_equal(annotated[150, 200], bgr(drawing.PALETTE[index]))
    unnamed = drawing.Annotator()(frame, replace(found, track_id=None))
    width, before = (changed(frame, each)[:99].any(0).sum() for each in (annotated, unnamed))
    assert (width > before) == (track_id >= 0)  # the identity stands beside the name


def test_annotate_draws_only_on_the_object_and_its_name():
    frame = grey()
    detected = detections(frame.size_hw, [[100, 100, 200, 200]], [1])
    touched = changed(frame, drawing.Annotator()(frame, detected))
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    assert (columns[0], rows[-1]) == pytest.approx((100, 200), abs=3)
    assert 70 < rows[0] < 90  # the name stands on the box


@pytest.mark.parametrize("box", [[0, 0, 60, 60], [260, 0, 320, 60], [260, 180, 320, 240], [0, 0, 320, 240]])
def test_annotate_names_stay_inside_the_frame(box):
    frame = grey()
    bare = drawing.Annotator()(frame, detections(frame.size_hw, [box], [0]))
    letters = np.abs(bare.astype(int) - bgr(drawing._TEXT_COLOR)).max(-1) < 40
    assert np.count_nonzero(letters) > 30
    # A name cut off at an edge would have letters in the outermost pixels.
    edge = np.concatenate([letters[0], letters[-1], letters[:, 0], letters[:, -1]])
    assert not edge.any()


def test_annotate_text_grows_with_the_frame():
    annotate = drawing.Annotator()

    def text_pixels(size_hw):
        frame = grey(size_hw)
        height, width = size_hw
        annotated = annotate(frame, detections(size_hw, [[width * 0.3, height * 0.3, width * 0.7, height * 0.7]], [0]))
        return np.count_nonzero(np.abs(annotated.astype(int) - bgr(drawing._TEXT_COLOR)).max(-1) < 40)

    small = text_pixels((240, 320))
    assert text_pixels((960, 1280)) > 3 * small
    assert text_pixels((240, 320)) == small


def test_annotate_many_objects_and_an_empty_mask():
    frame = grey()
    boxes = [[10 * i, 5 * i, 10 * i + 60, 5 * i + 60] for i in range(20)]
    detected = detections(frame.size_hw, boxes, [i % 3 for i in range(20)])
    detected.masks.logits[3] = -1
    touched = changed(frame, drawing.Annotator()(frame, detected))
    for left, top, right, bottom in boxes:
        assert touched[top : bottom + 1, left : right + 1].mean() > 0.9


def test_annotate_draw_prompts():
    frame = grey()
    prompts = Prompts.of([[100, 60, 180, 140]], [[[150, 100], [300, 200]]], [[1, 0]])
    scene = drawing.draw_prompts(frame.image.copy(), prompts)
    touched = changed(frame, scene)
    np.testing.assert_array_equal(scene[60, 140], (255, 255, 255))  # the box
    blue, green, red = scene[100, 150].astype(int)
    assert green > max(blue, red)
    blue, green, red = scene[200, 300].astype(int)
    assert red > max(blue, green)
    assert not touched[:50].any()
    assert not touched[150:190].any()
    # Padding and absent points, which lie at the corner, are none to be seen.
    np.testing.assert_array_equal(drawing.draw_prompts(frame.image.copy(), Prompts.of([], [], [])), frame.image)
    lone = drawing.draw_prompts(
        frame.image.copy(), Prompts.from_points([[[150, 100]], [[50, 50], [60, 60]]], [[1], [1, 1]])
    )
    assert not changed(frame, lone)[:20, :20].any()


def named_twice():
    """A gear that is a nut as well, less surely: one mask."""
    boxes = [[60, 120, 160, 220], [60, 121, 160, 221]]
    two = detections((240, 320), boxes, [2, 1], confidence=[0.9, 0.4])
    return replace(two, masks=two.masks.select(np.array([0, 0])))


def test_annotate_draws_a_shared_mask_once_under_its_best_name():
    frame, two = grey(), named_twice()
    annotated = drawing.Annotator(labels=False)(frame, two)
    alone = detections(frame.size_hw, [[60, 120, 160, 220]], [2], confidence=[0.9])
    np.testing.assert_array_equal(annotated, drawing.Annotator(labels=False)(frame, alone))


def test_annotate_writes_the_other_names_smaller_beside_the_best():
    frame, two = grey(), named_twice()
    name = changed(frame, drawing.Annotator(boxes=False, masks=False)(frame, replace(two, **first(two))))
    both = drawing.Annotator(boxes=False, masks=False)(frame, two)
    other = (both == bgr(drawing.PALETTE[1])).all(-1)
    rows, columns = np.flatnonzero(other.any(1)), np.flatnonzero(other.any(0))
    best_rows = np.flatnonzero(name.any(1))
    assert 0 < rows[-1] - rows[0] < best_rows[-1] - best_rows[0]
    assert not (other & name).any()
    assert columns[0] >= 60 - 2


def first(detected):
    fields = ("xyxy", "confidence", "class_id", "class_name", "mask_confidence")
    return {**{name: getattr(detected, name)[:1] for name in fields}, "masks": detected.masks.select(np.array([0]))}
