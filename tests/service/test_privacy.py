"""What leaves the loop with `[redact]`: covered pictures, the objects that are asked for, and nothing of a fault."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace as replace_config

from nanoseg.errors import EngineError, UsageError
from nanoseg.processing.boxes import Boxes
from nanoseg.service.config import ModelConfig, RedactConfig, ServiceConfig, SourceConfig
from nanoseg.service.privacy import Privacy, open_privacy
from nanoseg.sinks.redact import BORDER_CONFIDENCE, WARM_UP
from nanoseg.types import Frame
from tests.fakes.segmenter import detections
from tests.service.test_loop import Played

LABELS = ("bolt", "nut", "gear")
SIZE = (96, 128)
BOLT, NUT = (40, 30, 60, 50), (80, 40, 100, 60)


def a_privacy(classes=("bolt",), **model):
    config = ServiceConfig([SourceConfig("belt", "0")], ModelConfig(**model), redact=RedactConfig(list(classes)))
    return Privacy(config, LABELS)


def a_frame(index):
    image = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), np.uint8)
    return Frame(image, index, 10**9 + index * 40_000_000, "belt")


def found(confidence=0.9):
    """Return detections of which those below .4 are seen only."""
    seen = detections(SIZE, [BOLT, NUT], [0, 1], [confidence, 0.8], labels=LABELS)
    objects = seen if confidence > 0.4 else detections(SIZE, [NUT], [1], [0.8], labels=LABELS)
    return replace(objects, seen=Boxes(seen.xyxy, seen.confidence, seen.class_id))


def shows(frame, image, box):
    """Return the share of a box's pixels that are as they were."""
    left, top, right, bottom = box
    return (image[top:bottom, left:right] == frame.image[top:bottom, left:right]).all(2).mean()


@pytest.mark.parametrize("confidence", [0.9, 0.15])
def test_privacy_covers_what_is_found_however_uncertain_and_reports_what_is_asked_for(confidence):
    privacy = a_privacy()
    for index in range(WARM_UP + 2):
        frame = a_frame(index)
        image = privacy.cover(frame, found(confidence)).image
    assert shows(frame, image, BOLT) == 0
    assert shows(frame, image, NUT) > 0.6  # what is beside a bolt may be in front of it
    reported = privacy.reported(found(confidence).materialize())
    assert reported.class_name.tolist() == (["bolt", "nut"] if confidence > 0.4 else ["nut"])
    assert len(reported.masks) == len(reported)


def test_privacy_reports_classes_and_the_most_objects_that_are_asked_for():
    assert a_privacy(classes=["gear"]).reported(found()).class_name.tolist() == ["bolt", "nut"]
    privacy = a_privacy(max_objects=1)
    assert privacy.reported(found()).class_name.tolist() == ["bolt"]
    privacy = a_privacy()
    privacy._reported = np.array([1])
    assert privacy.reported(found()).class_name.tolist() == ["nut"]


@pytest.mark.parametrize("changes", [{"seen": None}, {"seen_complete_from": 0.2}], ids=["carried over", "rows full"])
def test_privacy_covers_all_of_a_frame_of_which_not_all_boxes_are_known(changes):
    privacy = a_privacy()
    for index in range(WARM_UP + 2):
        privacy.cover(a_frame(index), found())
    frame = a_frame(index + 1)
    image = privacy.cover(frame, replace(found(), **changes)).image
    assert shows(frame, image, (0, 0, SIZE[1], SIZE[0])) < 0.001


def test_privacy_trusts_an_empty_scene_where_it_is_told_to():
    nothing = replace(detections(SIZE), seen=Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)))
    for trust, wanted in ((False, 0), (True, 1)):
        config = ServiceConfig([SourceConfig("belt", "0")], redact=RedactConfig(["bolt"], trust_empty=trust))
        privacy = Privacy(config, LABELS)
        for index in range(WARM_UP + 1):
            frame = a_frame(index)
            image = privacy.cover(frame, nothing).image
        assert shows(frame, image, BOLT) == wanted


def test_privacy_lets_the_segmenter_find_more_than_is_reported():
    segmenter = SimpleNamespace(
        bundle=SimpleNamespace(labels=LABELS), seen_confidence=0.01, max_objects=3, class_ids=np.array([1])
    )
    config = ServiceConfig([SourceConfig("belt", "0")], redact=RedactConfig(["bolt"]))
    assert open_privacy(replace_config(config, redact=None), segmenter) is None
    assert (segmenter.seen_confidence, segmenter.max_objects) == (None, 3)
    assert open_privacy(config, segmenter) is not None
    assert (segmenter.seen_confidence, segmenter.max_objects, segmenter.nms) == (BORDER_CONFIDENCE, None, "by-class")
    assert segmenter.class_ids is None


def test_privacy_segments_what_is_covered_too_where_a_bundle_is_to_be_compared():
    """A bundle that does not see whom it has to cover is no better for seeing all else."""
    segmenter = SimpleNamespace(bundle=SimpleNamespace(labels=LABELS))
    config = ServiceConfig([SourceConfig("belt", "0")], ModelConfig(classes=["nut"]), redact=RedactConfig(["bolt"]))
    privacy = open_privacy(config, segmenter)
    assert segmenter.class_ids.tolist() == [0, 1]
    assert privacy.reported(found()).class_name.tolist() == ["nut"]


def test_privacy_refuses_a_class_that_there_is_not():
    with pytest.raises(UsageError, match="person"):
        a_privacy(classes=["person"])


def test_loop_passes_on_covered_pictures_alone():
    """Of faults nothing leaves, and after one the picture stays covered as before."""
    frames = [a_frame(index) for index in range(12)]
    outcomes = {5: EngineError("out of memory"), 8: None}

    def find(frame):
        outcome = outcomes.get(frame.index, frame)
        if isinstance(outcome, EngineError):
            raise outcome
        return replace(found(), xyxy=np.zeros((0, 4), np.float32)) if outcome is None else found()

    played = Played([*frames[:8], *frames[9:]], find)
    played.loop.use(played.loop.segmenter, None, a_privacy())
    played.loop.run()
    assert [result.frame.index for result in played.results] == [0, 1, 2, 3, 4, 6, 7, 9, 10, 11]
    for result in played.results:
        assert result.redacted
        assert json.loads(result.record().json())["redacted"]
        assert shows(frames[result.frame.index], result.frame.image, BOLT) == 0
    assert shows(frames[11], played.results[-1].frame.image, NUT) > 0.6
