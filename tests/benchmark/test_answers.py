"""Engines that compute something else are refused; what rounding changes is not."""

from contextlib import contextmanager

import numpy as np
import pytest

import nanoseg
from nanoseg.benchmark.answers import check_answers
from nanoseg.bundle.reference import MAX_OBJECTS, Reference, ReferenceFrame, read_reference
from tests.fakes.segmenter import FakeSegmenter, detections


@pytest.fixture(scope="module")
def segmenter():
    with nanoseg.load("parts", "onnxruntime") as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(segmenter):
    return read_reference(segmenter.bundle.reference)


class Wrong:
    """An engine whose inputs or outputs are changed."""

    def __init__(self, engine, before=None, after=None):
        self.engine, self.before, self.after = engine, before or {}, after or {}

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def __call__(self, feeds):
        outputs = self.engine({name: self.before.get(name, lambda x: x)(value) for name, value in feeds.items()})
        return {name: self.after.get(name, lambda x: x)(value) for name, value in outputs.items()}


@contextmanager
def wrong_engine(segmenter, graph, **changes):
    engines = segmenter.pipeline.engines
    right = engines[graph]
    engines[graph] = Wrong(right, **changes)
    try:
        yield
    finally:
        engines[graph] = right


def test_answers_of_the_bundle_are_right(segmenter, reference):
    """Float32, of a reference that was rounded to INT8 and FP16."""
    answers = check_answers(segmenter, reference)
    assert (answers.checked, answers.right, answers.unexpected) == (True, True, 0)
    assert answers.matched == answers.expected > 10
    assert answers.box_iou > 0.95
    assert answers.mask_iou > 0.95


def test_answers_allow_what_rounding_changes(segmenter, reference):
    """Half a percent of noise on the embedding, an eighth of a pixel on the detector's picture."""
    rng = np.random.default_rng(0)

    def noisy(value):
        return value + np.float32(0.005 * value.std()) * rng.standard_normal(value.shape).astype(np.float32)

    with wrong_engine(segmenter, "embed", after={"image_embeddings": noisy}):
        assert check_answers(segmenter, reference).right
    with wrong_engine(segmenter, "detect", before={"images": lambda x: (x + np.float32(1 / 510)).clip(0, 1)}):
        assert check_answers(segmenter, reference).right


@pytest.mark.parametrize(
    ("graph", "changes"),
    [
        ("detect", {"before": {"images": lambda x: np.ascontiguousarray(x[:, ::-1])}}),  # colours in another order
        ("detect", {"before": {"images": lambda x: x * 0}}),
        ("detect", {"before": {"images": lambda x: np.ascontiguousarray(np.roll(x, 6, axis=3))}}),
        ("embed", {"after": {"image_embeddings": lambda x: x * 0}}),
        ("embed", {"after": {"image_embeddings": lambda x: np.ascontiguousarray(x[..., ::-1])}}),
        ("segment_boxes", {"after": {"tile_logits": lambda x: -x}}),
    ],
    ids=["colours", "black", "shifted", "no embedding", "mirrored embedding", "inverted masks"],
)
def test_answers_of_a_wrong_engine_are_refused(segmenter, reference, graph, changes):
    with wrong_engine(segmenter, graph, **changes):
        answers = check_answers(segmenter, reference)
    assert answers.checked
    assert not answers.right


def found(boxes, class_ids, confidence):
    return FakeSegmenter(lambda image: detections(image.shape[:2], boxes, class_ids, confidence))


@pytest.fixture
def one_nut(reference):
    """A reference of one stable nut and an unstable bolt."""
    frame = reference.frames[0]
    width, height = frame.size_wh
    nut, bolt = frame.objects[:2]
    mask = detections((height, width), [[20, 20, 120, 120]], [1], [0.9]).masks.rle(0)["counts"]

    def make(original, class_id, box, stable):
        values = {"class_id": class_id, "confidence": 0.9, "xyxy": box, "mask": mask, "stable": stable}
        return type(original)(**values)

    objects = [make(nut, 1, (20, 20, 120, 120), True), make(bolt, 0, (200, 200, 300, 300), False)]
    return Reference(1, 0.25, [ReferenceFrame(frame.jpeg, frame.size_wh, objects)])


NUT = [20, 20, 120, 120]


@pytest.mark.parametrize(
    ("boxes", "class_ids", "confidence", "right"),
    [
        ([NUT], [1], [0.9], True),
        ([NUT], [1], [0.8], True),
        ([NUT], [1], [0.7], False),
        ([NUT], [2], [0.9], False),
        ([[28, 20, 128, 120]], [1], [0.9], False),
        ([], [], [], False),
        ([NUT, [200, 200, 300, 300]], [1, 0], [0.9, 0.5], True),  # known, though not stable
        ([NUT, [200, 20, 300, 120]], [1, 0], [0.9, 0.5], False),  # of nothing
        ([NUT, [200, 20, 300, 120]], [1, 0], [0.9, 0.3], True),  # near the threshold
    ],
)
def test_answers_by_object(one_nut, boxes, class_ids, confidence, right):
    assert check_answers(found(boxes, class_ids, confidence), one_nut).right is right


def test_answers_below_where_a_reference_was_cut_do_not_count(one_nut):
    frame = one_nut.frames[0]
    frame.objects += [frame.objects[1]] * (MAX_OBJECTS - 2)
    assert check_answers(found([NUT, [200, 20, 300, 120]], [1, 0], [0.9, 0.89]), one_nut).right


def test_answers_without_reference_are_not_checked(segmenter, one_nut):
    assert not check_answers(segmenter, None).checked
    one_nut.frames[0].objects = one_nut.frames[0].objects[1:]
    answers = check_answers(found([], [], []), one_nut)
    assert (answers.checked, answers.right) == (False, False)
