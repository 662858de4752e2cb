"""Rotation: what is asked for, and parts that are whole and hold every frame once."""

import json
import threading

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.rotation import Rotating, Rotation, parse_rotation
from nanoseg.types import Frame
from tests.fakes.segmenter import detections

AT_NS = 1_764_393_480 * 10**9  # 2025-11-29T05:18:00Z
FOUND = detections((4, 4), [(0, 0, 2, 2)], [1])


@pytest.mark.parametrize(
    ("text", "rotation"),
    [
        ("10min", Rotation(seconds=600)),
        ("30s", Rotation(seconds=30)),
        ("1.5h", Rotation(seconds=5400)),
        ("2d", Rotation(seconds=172800)),
        ("100MB", Rotation(bytes=1e8)),
        (" 1 GB ", Rotation(bytes=1e9)),
    ],
)
def test_parse_rotation(text, rotation):
    assert parse_rotation(text) == rotation


@pytest.mark.parametrize("text", ["", "10", "min", "0s", "-1h", "10 weeks", "1e9", "10mb"])
def test_parse_rotation_refuses(text):
    with pytest.raises(UsageError, match=r"--rotate .*wanted a time or a size, such as 30s, 10min"):
        parse_rotation(text)


def frame(index, seconds):
    return Frame(np.zeros((4, 4, 3), np.uint8), index, AT_NS + round(seconds * 1e9))


def run(folder, rotation, seconds):
    with Rotating(folder / "found.jsonl", rotation, JsonLines) as sink:
        for index, at_s in enumerate(seconds):
            sink.write(frame(index, at_s), FOUND, None)
    return {
        path.name: [json.loads(line)["frame"] for line in path.read_text().splitlines()]
        for path in sorted(folder.iterdir())
    }


def test_parts_by_time_are_named_by_their_first_frame(tmp_path):
    assert run(tmp_path, Rotation(seconds=60), [0, 20, 59.9, 60, 119, 300]) == {
        "found-20251129T051800Z.jsonl": [0, 1, 2],
        "found-20251129T051900Z.jsonl": [3, 4],
        "found-20251129T052300Z.jsonl": [5],
    }


def test_a_clock_that_is_set_back_cuts(tmp_path):
    assert run(tmp_path, Rotation(seconds=60), [0.5, 30, -3600, -3541]) == {
        "found-20251129T051800Z.jsonl": [0, 1],
        "found-20251129T041800Z.jsonl": [2, 3],
    }


def test_frames_of_a_slower_camera_cut_nothing(tmp_path):
    """Those of one of two cameras are five seconds old."""
    seconds = [time_s for index in range(40) for time_s in (index / 10, index / 10 - 5)]
    parts = run(tmp_path, Rotation(seconds=1), seconds)
    assert [len(indices) for indices in parts.values()] == [20] * 4
    assert [index for indices in parts.values() for index in indices] == list(range(80))


def test_the_next_part_is_written_while_a_slow_disk_completes_one(tmp_path):
    gate, refused = threading.Event(), UsageError("the disk is full")

    class Slow(JsonLines):
        def __exit__(self, *how):
            assert gate.wait(30)
            super().__exit__(*how)
            if self.path.name.endswith("1800Z.jsonl"):
                raise refused

        def __init__(self, path):
            super().__init__(path)
            self.path = path

    sink = Rotating(tmp_path / "found.jsonl", Rotation(seconds=60), Slow)
    for second in (0, 60, 61):
        sink.write(frame(second, second), FOUND, None)
    gate.set()
    with pytest.raises(UsageError) as raised:
        sink.__exit__(None, None, None)
    assert raised.value is refused
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "found-20251129T051800Z.jsonl",
        "found-20251129T051900Z.jsonl",
    ]


def test_parts_of_a_second_run_overwrite_nothing(tmp_path):
    for again in (1, 2):
        parts = run(tmp_path, Rotation(seconds=60), [0.5, 60.5])
        assert list(parts.values()) == [[0]] * again + [[1]] * again


def test_parts_by_size_hold_every_frame_once(tmp_path):
    parts = run(tmp_path, Rotation(bytes=1000), [index / 10 for index in range(20)])
    assert sorted(index for part in parts.values() for index in part) == list(range(20))
    assert len(parts) > 2
    for name in parts:
        assert 0 < (tmp_path / name).stat().st_size < 2000


def test_no_frame_leaves_no_file(tmp_path):
    assert run(tmp_path, Rotation(seconds=1), []) == {}
