"""Keypoints in records, in pictures and for supervision."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoseg.bundle.keypoints import KeypointSet
from nanoseg.deadline import segment_carried
from nanoseg.errors import UsageError
from nanoseg.sinks.annotate import Annotator
from nanoseg.sinks.datasets import CocoFile
from nanoseg.sinks.records import read_record, record
from nanoseg.sources.source import Source
from nanoseg.types import Detections, Frame
from tests.data.fill_weights import image_u8
from tests.fakes.engines import fake_bundle, fake_engines, rows, segmenter_of

SET = KeypointSet(["head", "foot", "hand"], [0.1, 0.1, 0.1], [(0, 1), (1, 2)])
IMAGE = image_u8(1, 48, 64)
KEYPOINTS = np.array([[[8, 8, 0.9], [8, 36, 0.75], [20, 36, 0.25]], [[40, 10, 0.1], [50, 10, 0.8], [55, 20, 1 / 3]]])


def found_of(boxes: Any = ((4, 5, 30, 40), (34, 2, 60, 30))) -> tuple[Any, Detections]:
    answer = rows(boxes, [0.8, 0.6], [2, 0])
    keypoints = np.zeros((len(answer["boxes"]), 3, 3), np.float32)
    keypoints[:2] = KEYPOINTS
    engines = fake_engines({**answer, "keypoints": keypoints})
    segmenter = segmenter_of(engines, fake_bundle(keypoints=SET))
    return segmenter, segmenter(IMAGE)


def test_keypoints_in_records_read_back() -> None:
    _, found = found_of()
    line = record(Frame(IMAGE), found)
    assert line["objects"][1]["keypoints"][2] == [55.0, 20.0, 0.33333334]
    back = [each.keypoints for each in read_record(json.dumps(line)).objects]
    np.testing.assert_array_equal(np.array(back, np.float32), found.keypoints)
    without = record(Frame(IMAGE), replace(found, keypoints=None))
    assert "keypoints" not in without["objects"][0]
    assert read_record(json.dumps(without)).objects[0].keypoints is None


def test_keypoints_of_a_frame_between_detections_are_not_those_of_another() -> None:
    segmenter, found = found_of()
    assert segment_carried(segmenter, Frame(IMAGE), found).keypoints is None


def test_keypoints_in_a_coco_file(tmp_path: Path) -> None:
    """What is not sure is not labelled; lines count from 1."""
    segmenter, found = found_of()
    with CocoFile(tmp_path / "f.json", segmenter.bundle.labels, Source((), 1, None), "line") as sink:
        sink.write(Frame(IMAGE), found)
        sink.write(Frame(IMAGE, index=1), segment_carried(segmenter, Frame(IMAGE), found))  # carried
    content = json.loads((tmp_path / "f.json").read_text())
    first, second, *carried = content["annotations"]
    assert (first["keypoints"], first["num_keypoints"]) == ([8, 8, 2, 8, 36, 2, 0, 0, 0], 2)
    assert (second["keypoints"], second["num_keypoints"]) == ([0, 0, 0, 50, 10, 2, 0, 0, 0], 1)
    assert carried
    assert not any("keypoints" in one for one in carried)
    assert content["categories"][2]["keypoints"] == SET.names
    assert content["categories"][2]["skeleton"] == [[1, 2], [2, 3]]


def test_keypoints_for_supervision() -> None:
    pytest.importorskip("supervision")
    _, found = found_of()
    np.testing.assert_array_equal(found.to_supervision()["keypoints"], found.keypoints)
    points = found.keypoints_to_supervision()
    np.testing.assert_array_equal(points.xy, found.keypoints[..., :2])
    np.testing.assert_array_equal(points.keypoint_confidence, found.keypoints[..., 2])
    assert points.class_id.tolist() == [2, 0]
    with pytest.raises(UsageError, match="keypoints: wanted detections of a bundle that finds them"):
        replace(found, keypoints=None).keypoints_to_supervision()


def test_keypoints_are_drawn_where_they_are_sure() -> None:
    """Lines only between two of these; what is not there changes no pixel."""
    _, found = found_of()
    annotator = Annotator(labels=False, boxes=False, masks=False)
    frame = Frame(np.full((48, 64, 3), 200, np.uint8))
    changed = (annotator(frame, found) != frame.image).any(2)
    assert changed[8, 8]
    assert changed[36, 8]
    assert changed[10, 50]
    assert changed[22, 8]  # the line from head to foot
    assert not changed[36, 20]  # 0.25
    assert not changed[36, 14]  # the line to it
    assert not changed[10, 40]
    assert not changed[:, 56:].any()
    assert not (annotator(frame, replace(found, keypoints=None)) != frame.image).any()


@pytest.mark.parametrize("place", [1e9, -1e9, -5.0])
def test_keypoints_far_outside_are_no_matter(place: float) -> None:
    _, found = found_of()
    far = np.array(found.keypoints)
    far[0, 0, :2] = place
    drawn = Annotator(labels=False, boxes=False, masks=False)(Frame(IMAGE), replace(found, keypoints=far))
    assert drawn.shape == IMAGE.shape


def test_keypoints_without_a_skeleton_are_dots() -> None:
    _, found = found_of()
    frame = Frame(np.full((48, 64, 3), 200, np.uint8))
    drawn = Annotator(labels=False, boxes=False, masks=False)(frame, replace(found, keypoint_set=None))
    changed = (drawn != frame.image).any(2)
    assert changed[8, 8]
    assert not changed[22, 8]
