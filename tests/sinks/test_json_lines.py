"""JSON lines: to files, pipes and stdout."""

import errno
import io
import json
import os
import sys
from types import SimpleNamespace

import pytest

from nanoseg.errors import EngineError, SourceError, UsageError
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.records import read_record
from nanoseg.utils.files import part_path
from tests.sinks.frames import names, write_frames, write_one


def test_json_lines_read_back(tmp_path):
    path = tmp_path / "new" / "found.jsonl"
    with JsonLines(path) as sink:
        write_frames(sink)
        assert names(path.parent) == ["found.part.jsonl"]
        assert len(part_path(path).read_text().splitlines()) == 3  # it can be read while it grows
    assert names(path.parent) == ["found.jsonl"]
    records = [read_record(line) for line in path.read_bytes().splitlines()]
    assert [(one.frame, one.name) for one in records] == [(0, "0.png"), (1, "1.png"), (2, "2.png")]
    assert records[0].objects[0].xyxy == (0, 0, 32, 24)
    inside = records[0].objects[0].mask.decode()
    assert inside.shape == (48, 64)
    assert inside[:23, :31].all()
    assert not inside[26:].any()


def test_json_lines_to_stdout(monkeypatch):
    stdout = SimpleNamespace(buffer=io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)
    with JsonLines("-") as sink:
        write_frames(sink)
    lines = stdout.buffer.getvalue().splitlines()  # stdout is not closed
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2]


def test_json_lines_pipe_is_not_replaced(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with JsonLines(fifo) as sink:
        write_frames(sink, 1)
    assert json.loads(os.read(reader, 1 << 20))["frame"] == 0
    os.close(reader)
    assert fifo.is_fifo()


@pytest.mark.parametrize("end", [SourceError, KeyboardInterrupt, EngineError])
def test_json_lines_of_no_frame_keep_the_old_ones(tmp_path, end):
    (tmp_path / "r.jsonl").write_bytes(b"old")
    with pytest.raises(end), JsonLines(tmp_path / "r.jsonl"):
        raise end
    assert (tmp_path / "r.jsonl").read_bytes() == b"old"
    assert names(tmp_path) == ["r.jsonl"]
    with JsonLines(tmp_path / "r.jsonl"):  # a complete run without a frame
        pass
    assert (tmp_path / "r.jsonl").read_bytes() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_json_lines_full_disk():
    with pytest.raises(UsageError, match="/dev/full: cannot be written: No space left"):
        write_one(JsonLines("/dev/full"))


def test_json_lines_are_not_put_in_place_where_they_cannot_be_cut(tmp_path, monkeypatch):
    (tmp_path / "r.jsonl").write_bytes(b"old")
    sink = JsonLines(tmp_path / "r.jsonl")
    sink.__enter__()

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "truncate", fail)
    with pytest.raises(UsageError, match="cannot be written"):
        sink.__exit__(None, None, None)
    assert (tmp_path / "r.jsonl").read_bytes() == b"old"
