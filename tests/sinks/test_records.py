"""Records: their keys, and that a line reads back to the same values."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks.records import read_record, record
from nanoseg.types import Frame
from tests.data.fill_weights import image_u8
from tests.fakes.engines import fake_engines, rows, segmenter_of

FOUND = rows([[4.1, 5.7, 30.3, 40.9], [20, 2, 60, 30]], [1 / 3, 0.3], [2, 0])


def detections(found=FOUND):
    return segmenter_of(fake_engines(found))(image_u8(1, 48, 64))


def test_records_keys():
    line = record(Frame(image_u8(1, 48, 64), index=7, captured_ns=123), detections())
    assert list(line) == ["frame", "captured_ns", "latency_ms", "objects"]
    assert (line["frame"], line["captured_ns"]) == (7, 123)
    assert list(line["latency_ms"]) == ["prepare", "detect", "embed", "segment", "total"]
    first = line["objects"][0]
    assert list(first) == ["class_id", "class_name", "confidence", "xyxy", "mask", "mask_confidence"]
    assert first["class_name"] == "gear"
    assert first["xyxy"] == [4.1, 5.7, 30.3, 40.9]
    assert first["mask"]["size"] == [48, 64]
    assert first["mask"]["counts"].isascii()


def test_records_file_name():
    assert record(Frame(image_u8(1, 48, 64), name="a.png"), detections())["name"] == "a.png"


def test_records_of_tracked_objects_have_their_identity():
    frame, found = Frame(image_u8(1, 48, 64)), replace(detections(), track_id=np.array([12, -1]))
    line = record(frame, found)
    assert [each["track_id"] for each in line["objects"]] == [12, None]
    assert [each.track_id for each in read_record(json.dumps(line)).objects] == [12, None]


@pytest.mark.parametrize("found", [FOUND, rows()])
def test_records_round_trip(found):
    frame, given = Frame(image_u8(1, 48, 64), index=2, captured_ns=5, name="x"), detections(found)
    back = read_record(json.dumps(record(frame, given)))
    assert (back.frame, back.captured_ns, back.name) == (2, 5, "x")
    assert len(back.objects) == len(given)
    for i, one in enumerate(back.objects):
        assert (one.class_id, one.class_name) == (given.class_id[i], given.class_name[i])
        # Equal as float32, to the bit: nothing is rounded.
        assert np.float32(one.confidence) == given.confidence[i]
        assert np.float32(one.mask_confidence) == given.mask_confidence[i]
        np.testing.assert_array_equal(np.array(one.xyxy, np.float32), given.xyxy[i])
        np.testing.assert_array_equal(one.mask.decode(), given.mask[i])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": "seven"}, r"record: Expected `int`, got `str` - at `\$.frame`"),
        ({"objects": [{"class_id": 1}]}, r"record: .*missing required field `class_name` - at `\$.objects\[0\]`"),
    ],
)
def test_records_wrong_key(change, message):
    line = record(Frame(image_u8(1, 48, 64)), detections())
    with pytest.raises(UsageError, match=message):
        read_record(json.dumps({**line, **change}))


def test_records_truncated_line():
    with pytest.raises(UsageError, match="record: "):
        read_record('{"frame": 1, "obj')
