"""The log of a run: what was written is there again, whatever ended the run."""

import pytest

from nanoseg.errors import UsageError
from nanoseg.evaluation.result_log import log_key, open_result_log

ROWS = {3: [{"score": 0.5, "counts": 'a"\\'}], "four": [], 5: [{"score": 1.0}]}
KEY, OTHER = log_key({"bundle": "a", "iou": 0.7}), log_key({"bundle": "a", "iou": 0.6})


def write(path, key, rows):
    with open_result_log(path, key) as log:
        for image_id, results in rows.items():
            log.add(image_id, results)


def read(path, key):
    with open_result_log(path, key) as log:
        return log.results


def test_result_log_round_trip(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, KEY, ROWS)
    write(path, OTHER, {3: []})
    assert read(path, KEY) == ROWS
    assert read(path, OTHER) == {3: []}
    assert log_key({"iou": 0.7, "bundle": "a"}) == KEY  # in whatever order


@pytest.mark.parametrize("cut", range(1, 120, 7))
def test_result_log_cut_short(cut, tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, KEY, ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = path.read_bytes().count(b"\n")
    assert read(path, KEY) == dict(list(ROWS.items())[:kept])
    write(path, KEY, {5: ROWS[5], 6: []})
    assert read(path, KEY) == dict(list(ROWS.items())[:kept]) | {5: ROWS[5], 6: []}


@pytest.mark.parametrize("line", [b"\0" * 50, b"{}\n", b'{"key": 1}\n', b"\xff\xfe\n", b"\n", b"[]\n"])
def test_result_log_passes_over_damage(line, tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, KEY, ROWS)
    path.write_bytes(line + (b"" if line.endswith(b"\n") else b"\n") + path.read_bytes() + line)
    assert read(path, KEY) == ROWS


def test_result_log_is_of_one_run(tmp_path):
    path = tmp_path / "log.jsonl"
    with (
        open_result_log(path, KEY),
        pytest.raises(UsageError, match="is already an output of this run"),
        open_result_log(path, KEY),
    ):
        pass
    with pytest.raises(UsageError, match="cannot be written"):
        read(tmp_path, KEY)
    with open_result_log(None, KEY) as log:
        log.add(3, [])
        assert log.results == {3: []}
