"""Silhouette privacy: what is covered, and that all is covered where nothing is known."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2")
from nanoseg.errors import UsageError
from nanoseg.processing.boxes import Boxes
from nanoseg.sinks.redact import NOT_SEGMENTED, NOTHING_FOUND, STARTING, TOO_MUCH_FOUND, WARM_UP, Redactor
from nanoseg.sinks.redact_pixels import MODES
from nanoseg.types import Frame
from tests.fakes.segmenter import detections

LABELS = ("person", "dog", "chair")
PERSON, DOG, CHAIR = range(3)
SIZE_HW = (240, 320)
STEP_NS = 40_000_000
NONE_FOUND = ()
CHAIR_IN_THE_MIDDLE = ([150, 60, 190, 100], 0.9, CHAIR)
PERSON_IN_THE_MIDDLE = ([60, 80, 100, 160], 0.9, PERSON)


def boxes(*objects):
    """Return boxes of (xyxy, confidence, class)."""
    xyxy, confidence, class_id = zip(*objects, strict=True) if objects else ((), (), ())
    return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.array(confidence, np.float32), np.array(class_id, int))


class Camera:
    """A redactor that is given the frames of a camera, each of other noise."""

    def __init__(self, warm=True, **options):
        self.redactor = Redactor([PERSON], **{"mode": "fill", "border": 0.0} | options)
        self.index = 0
        for _ in range(WARM_UP if warm else 0):
            assert self(CHAIR_IN_THE_MIDDLE).all()

    def __call__(self, *objects, found=None, fail=False, size_hw=SIZE_HW, later_ns=0, complete_from=0.05):
        """Return which pixels of the next frame are covered, (H, W)."""
        rng = np.random.default_rng(self.index)
        image = rng.integers(0, 128, (*size_hw, 3), np.uint8)  # without the grey of fill
        frame = Frame(image, self.index, self.index * STEP_NS + later_ns)
        self.index += 1
        if not fail:
            found = boxes(*objects) if found is None else found
        hidden = self.redactor.redact(frame, None if fail else found, complete_from)
        covered = (hidden.image != image).any(2)
        np.testing.assert_array_equal(hidden.image[~covered], image[~covered])
        return covered


def extent(covered):
    """Return the bounding box of what is covered, which must be one rectangle."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    assert covered[box[1] : box[3], box[0] : box[2]].all()
    assert covered.sum() == (box[2] - box[0]) * (box[3] - box[1])
    return box


@pytest.mark.parametrize("mode", MODES)
def test_redact_leaves_the_given_frame_as_it_is(mode):
    redactor = Redactor([PERSON], mode)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    for index in range(WARM_UP + 2):
        frame = Frame(image.copy(), index, index * STEP_NS, "cam", media_ns=index * STEP_NS, duration_ns=STEP_NS)
        hidden = redactor.redact(frame, boxes(PERSON_IN_THE_MIDDLE))
        np.testing.assert_array_equal(frame.image, image)
        assert not np.shares_memory(frame.image, hidden.image)
        assert repr(replace(frame, image=hidden.image)) == repr(hidden)
        assert (hidden.captured_ns, hidden.media_ns, hidden.duration_ns) == (frame.captured_ns, frame.media_ns, STEP_NS)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([60, 80, 100, 160], (38, 58, 122, 182)),  # 25 % of 80, and 2
        ([0, 0, 40, 20], (0, 0, 52, 32)),
        ([290.5, 200.5, 320, 240], (278, 188, 320, 240)),
        ([0, 0, 320, 240], (0, 0, 320, 240)),
        ([-50, -50, -40, -45], None),
    ],
)
def test_redact_covers_boxes_with_a_margin(box, expected):
    covered = Camera()((box, 0.6, PERSON), CHAIR_IN_THE_MIDDLE)
    assert (extent(covered) if covered.any() else None) == expected


@pytest.mark.parametrize(
    ("found", "is_covered"),
    [
        ((PERSON, 0.9), True),
        ((PERSON, 0.1), True),  # long before it is reported
        ((PERSON, 0.09), False),
        ((PERSON, 0.04), False),
        ((DOG, 0.9), False),
        ((DOG, 0.5), False),
        ((DOG, 0.4), True),  # it is something, and nobody knows what
        ((DOG, 0.2), False),
    ],
)
def test_redact_covers_the_classes_alone(found, is_covered):
    class_id, confidence = found
    assert Camera()(([60, 80, 100, 160], confidence, class_id), CHAIR_IN_THE_MIDDLE).any() == is_covered


@pytest.mark.parametrize(
    ("objects", "is_covered"),
    [
        ([([0, 80, 20, 160], 0.3, DOG)], True),  # who knows
        ([([0, 80, 20, 160], 0.6, DOG)], False),
        ([([0, 80, 20, 160], 0.6, DOG), ([0, 82, 21, 160], 0.3, CHAIR)], False),  # explained by the dog
        ([([0, 80, 20, 100], 0.6, DOG), ([0, 82, 21, 160], 0.3, CHAIR)], True),  # the dog is but a part
        ([([0, 80, 40, 160], 0.6, DOG), ([0, 82, 15, 110], 0.3, CHAIR)], True),  # somebody before or behind the dog
        ([([0, 80, 20, 160], 0.6, DOG), ([0, 80, 20, 160], 0.1, PERSON)], True),
        ([([0, 80, 20, 160], 0.6, DOG), ([0, 80, 20, 160], 0.04, PERSON)], True),
        ([([0, 80, 20, 160], 0.04, CHAIR)], True),  # what comes in is at first little to be seen
        ([([0, 80, 20, 160], 0.02, CHAIR)], False),
        ([([290, 80, 319, 160], 0.3, DOG)], True),
        ([([100, 0, 140, 20], 0.3, DOG)], True),
        ([([100, 200, 140, 240], 0.3, DOG)], True),
        ([([100, 100, 140, 140], 0.25, DOG)], False),
        ([([100, 100, 140, 140], 0.6, DOG), ([100, 101, 140, 140], 0.4, CHAIR)], False),
    ],
)
def test_redact_covers_what_comes_in_until_it_is_known(objects, is_covered):
    assert Camera()(*objects, CHAIR_IN_THE_MIDDLE).any() == is_covered


def test_redact_covers_a_strip_along_the_border():
    covered = Camera(border=0.05)(CHAIR_IN_THE_MIDDLE)
    assert not covered[12:-12, 12:-12].any()
    assert covered.sum() == 240 * 320 - 216 * 296


def test_redact_holds_the_masks_with_a_margin():
    """A mask extends at most 10 % of its box and 2 px beyond it, whatever the logits are."""
    box = [100, 80, 180, 160]
    found = detections(SIZE_HW, [box], [PERSON], masks=np.ones((1, *SIZE_HW), bool))
    covered = Camera()((box, 0.9, PERSON))
    (mask,) = found.mask
    assert mask.sum() > 80 * 80
    rows, columns = np.nonzero(mask)
    grown = covered[rows.min() - 11 : rows.max() + 12, columns.min() - 11 : columns.max() + 12]
    assert grown.all()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            ([110, 100, 160, 200], 0.9, DOG),
            (18, 38, 142, 202),
        ),  # half of 80, and 2: it may show on the dog's other side
        (([110, 100, 160, 200], 0.1, DOG), (18, 38, 142, 202)),
        (([110, 100, 160, 200], 0.09, DOG), (38, 58, 122, 182)),
        (([125, 100, 160, 200], 0.9, DOG), (38, 58, 122, 182)),  # out of reach
        (([60, 80, 102, 160], 0.9, DOG), (38, 58, 122, 182)),  # another word for the same thing
    ],
)
def test_redact_covers_more_where_another_object_is_near(other, expected):
    assert extent(Camera()(PERSON_IN_THE_MIDDLE, other)) == expected


def test_redact_covers_the_last_known_region():
    camera = Camera()
    for step in range(5):
        left = 60 + 3 * step
        camera(([left, 80, left + 40, 160], 0.9, PERSON), CHAIR_IN_THE_MIDDLE)
    for step in range(5, 30):
        left = 60 + 3 * step
        covered = camera(CHAIR_IN_THE_MIDDLE)
        assert covered[80:160, left : left + 40].all()
        assert not covered.all()
    assert not camera(CHAIR_IN_THE_MIDDLE).any()


WHOLE = {
    "not segmented": ({"fail": True}, NOT_SEGMENTED),
    "nothing found": ({}, NOTHING_FOUND),
    "all below the confidence": ({"found": boxes(([60, 80, 100, 160], 0.05, PERSON))}, NOTHING_FOUND),
    "rows that are full": ({"found": boxes(CHAIR_IN_THE_MIDDLE), "complete_from": 0.1}, TOO_MUCH_FOUND),
    "a box that is no number": ({"found": boxes(([60, np.nan, 100, 160], 0.9, PERSON))}, NOT_SEGMENTED),
    "a confidence that is no number": ({"found": boxes(([60, 80, 100, 160], np.nan, PERSON))}, NOT_SEGMENTED),
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("mode", MODES)
def test_redact_covers_all_where_nothing_is_known(case, mode):
    answer, reason = WHOLE[case]
    camera = Camera(mode=mode, warm=False)
    for _ in range(WARM_UP + 2):
        shown = camera(CHAIR_IN_THE_MIDDLE)
    assert not shown.any()
    assert camera(**answer).mean() > 0.999  # but for a colour by chance
    assert camera.redactor.whole_reason == reason
    assert not camera(CHAIR_IN_THE_MIDDLE).any()
    assert camera.redactor.whole_reason == ""


@pytest.mark.parametrize(
    "break_", [{"size_hw": (200, 320)}, {"later_ns": 3_000_000_000}, {"later_ns": -3_000_000_000}], ids=str
)
def test_redact_covers_all_after_a_break(break_):
    camera = Camera()
    assert not camera(CHAIR_IN_THE_MIDDLE).any()
    for _ in range(WARM_UP):
        assert camera(CHAIR_IN_THE_MIDDLE, **break_).all()
        assert camera.redactor.whole_reason == STARTING
    assert not camera(CHAIR_IN_THE_MIDDLE, **break_).any()


def test_redact_covers_all_until_something_was_found():
    camera = Camera(warm=False)
    for _ in range(20):
        assert camera().all()
        assert camera(fail=True).all()
    for _ in range(WARM_UP):
        assert camera(CHAIR_IN_THE_MIDDLE).all()
    assert not camera(CHAIR_IN_THE_MIDDLE).any()


def test_redact_covers_all_after_failures_for_long():
    camera = Camera()
    assert not camera(CHAIR_IN_THE_MIDDLE).any()
    for _ in range(60):
        camera(fail=True)
    assert camera(CHAIR_IN_THE_MIDDLE).all()


def test_redact_remembers_what_was_there_before_a_failure():
    camera = Camera()
    for _ in range(5):
        camera(PERSON_IN_THE_MIDDLE, CHAIR_IN_THE_MIDDLE)
    for _ in range(10):
        assert camera(fail=True).all()
    covered = camera(CHAIR_IN_THE_MIDDLE)
    assert covered[80:160, 60:100].all()
    assert not covered.all()


def test_redact_trusts_an_empty_scene_where_it_is_told_to():
    camera = Camera(warm=False, trust_empty=True)
    for _ in range(WARM_UP):
        assert camera().all()
    assert not camera().any()
    for _ in range(5):
        camera(PERSON_IN_THE_MIDDLE)
    assert camera()[80:160, 60:100].all()
    assert camera(fail=True).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Redactor([0], "hide"), r"redact: mode: wanted blur, pixelate, fill, got hide"),
        (
            lambda: Redactor([0], border_confidence=-1),
            r"redact: border_confidence: wanted a number from 0 to 1, got -1",
        ),
        (lambda: Redactor([0], near_margin=5), r"redact: near_margin: wanted a number from 0 to 4, got 5"),
        (lambda: Redactor([0], confidence=1.5), r"redact: confidence: wanted a number from 0 to 1, got 1.5"),
        (lambda: Redactor([0], margin=-1), r"redact: margin: wanted a number from 0 to 4, got -1"),
        (lambda: Redactor([0], border=0.6), r"redact: border: wanted a number from 0 to 0.5, got 0.6"),
        (lambda: Redactor([0], hold_s=float("nan")), r"redact: hold_s: wanted seconds >= 0, got nan"),
        (lambda: Redactor([0], gap_s=-1), r"redact: gap_s: wanted seconds >= 0, got -1"),
    ],
)
def test_redact_refuses_options(make, message):
    with pytest.raises(UsageError, match=message):
        make()
