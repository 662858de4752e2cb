"""Records to a file: whole lines whatever happens, rotated, bounded while the disk is slow or full."""

import errno
import json
import threading
from types import SimpleNamespace

import pytest

from nanoseg.service import records
from nanoseg.service.config import RecordsConfig
from nanoseg.service.records import RecordsWriter
from tests.helpers.waiting import wait_for
from tests.service.results import a_result


def lines(path):
    return [json.loads(line)["frame"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def writer(tmp_path):
    made, told = [], []

    def make(**options):
        writer = RecordsWriter(RecordsConfig(str(tmp_path / "sub" / "records.jsonl"), **options), told.append)
        writer.told = told
        made.append(writer)
        return writer

    yield make
    for each in made:
        each.close()


def test_records_are_written_in_order_and_go_on_after_a_restart(writer, tmp_path):
    for start in (0, 3):
        first = writer()
        for index in range(start, start + 3):
            first.put(a_result(index).record())
        first.close()
    path = tmp_path / "sub" / "records.jsonl"
    assert lines(path) == list(range(6))
    assert json.loads(path.read_bytes().splitlines()[0])["objects"][0]["mask"]["size"] == [48, 64]


def test_records_cut_off_what_a_kill_has_left_half_written(writer, tmp_path):
    path = tmp_path / "sub" / "records.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"frame": 7}\n{"frame": 8, "obj' + b"x" * 100_000)
    first = writer()
    first.put(a_result(9).record())
    first.close()
    assert lines(path) == [7, 9]


def test_records_rotate_by_size_and_keep_some(writer, tmp_path):
    size = len(a_result(10).record().json()) + 1
    first = writer(max_mb=3.5 * size / 1e6, keep=2)
    for index in range(10, 22):
        first.put(a_result(index).record())
    first.close()
    path = tmp_path / "sub" / "records.jsonl"
    assert [lines(path.with_name(f"records.jsonl{suffix}")) for suffix in ("", ".1", ".2")] == [
        [19, 20, 21],
        [16, 17, 18],
        [13, 14, 15],
    ]
    assert len(list(path.parent.iterdir())) == 3


def test_records_pause_while_the_disk_is_full(writer, tmp_path, monkeypatch):
    """Nothing is half-written, it is told once, and they go on once there is room."""
    monkeypatch.setattr(records, "RETRY_S", 0.0)
    full, real = threading.Event(), records.write_all

    def write_all(file, data):
        if full.is_set():
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(records, "write_all", write_all)
    first = writer()
    for index in range(9):
        (full.set if 3 <= index < 6 else full.clear)()
        first.put(a_result(index).record())
        while first.written + first.dropped["disk"] <= index:
            pass
    first.close()
    assert lines(tmp_path / "sub" / "records.jsonl") == [0, 1, 2, 6, 7, 8]
    assert first.dropped == {"disk": 3}
    assert [line.split(": ")[1] for line in first.told] == ["records pause", "records go on; 3 were dropped so far"]


def test_records_pause_before_the_disk_is_full(writer, tmp_path, monkeypatch):
    """So that other programs can still write; they go on once there is room."""
    free = [records.MIN_FREE_BYTES]
    monkeypatch.setattr(records, "RETRY_S", 0.0)
    monkeypatch.setattr(records.os, "statvfs", lambda _: SimpleNamespace(f_bavail=free[0], f_frsize=1))
    first = writer()
    for index in range(6):
        free[0] = records.MIN_FREE_BYTES - (2 <= index < 4)
        first.put(a_result(index).record())
        while first.written + first.dropped["disk"] <= index:
            pass
    first.close()
    assert lines(tmp_path / "sub" / "records.jsonl") == [0, 1, 4, 5]
    assert "records pause: less than 50 MB are free on the disk" in first.told[0]


def test_records_never_wait_for_a_slow_disk(writer, monkeypatch):
    go_on, real = threading.Event(), records.write_all

    def write_all(file, data):
        assert go_on.wait(60)
        real(file, data)

    monkeypatch.setattr(records, "write_all", write_all)
    first = writer()
    for index in range(200):
        first.put(a_result(index).record())
    assert first.dropped["slow"] >= 200 - records.CAPACITY - 1
    go_on.set()
    first.close()
    assert first.written + first.dropped["slow"] == 200


def test_records_go_on_once_their_folder_can_be_written(tmp_path, monkeypatch):
    """As of a disk that is not there yet when the service starts."""
    monkeypatch.setattr(records, "RETRY_S", 0.0)
    (tmp_path / "a").write_text("")
    told = []
    writer = RecordsWriter(RecordsConfig(str(tmp_path / "a" / "b.jsonl")), told.append)
    writer.put(a_result(0).record())
    wait_for(lambda: writer.dropped["disk"], "a record that could not be written")
    (tmp_path / "a").unlink()
    writer.put(a_result(1).record())
    writer.close()
    assert lines(tmp_path / "a" / "b.jsonl") == [1]
    assert "b.jsonl: records pause: " in told[0]
    assert "b.jsonl: records go on; 1 were dropped so far" in told[1]


def test_records_are_written_elsewhere_while_they_go_on(tmp_path):
    writer = RecordsWriter(None, print)
    for index, name in enumerate([None, "a", "a", "b", None, "b"]):
        writer.change(None if name is None else RecordsConfig(str(tmp_path / name)))
        writer.put(a_result(index).record())
    writer.close()
    assert {path.name: lines(path) for path in tmp_path.iterdir()} == {"a": [1, 2], "b": [3, 5]}
