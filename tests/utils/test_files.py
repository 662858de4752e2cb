"""Atomic writing: after any failure a file is the new one or the old one, complete, and nothing else is left."""

import errno
import os
import threading
from pathlib import Path

import pytest

from nanoseg.errors import EngineError, UsageError
from nanoseg.utils.files import (
    atomic_path,
    check_writable,
    file_ids,
    move_into_place,
    part_path,
    refuse_overwriting,
    remove_leftovers,
    write_all_atomic,
    write_atomic,
    write_errors,
)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fail_at(monkeypatch, function, call, error):
    """Let the `call`-th call of os.`function` raise."""
    real, calls = getattr(os, function), []

    def fake(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return real(*arguments)

    monkeypatch.setattr(os, function, fake)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_files_write_atomic_replaces(tmp_path):
    for data in (b"one", b"two"):
        write_atomic(tmp_path / "report.json", data)
        assert content(tmp_path) == {"report.json": data}


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
@pytest.mark.parametrize(("function", "call", "renamed"), [("fsync", 1, ""), ("fsync", 3, ""), ("replace", 2, "a")])
def test_files_write_all_atomic_failure(tmp_path, monkeypatch, function, call, renamed, error):
    write_all_atomic({tmp_path / name: b"old" for name in "abc"})
    fail_at(monkeypatch, function, call, error)
    with pytest.raises(type(error)):
        write_all_atomic({tmp_path / name: b"new" for name in "abc"})
    assert content(tmp_path) == {name: b"new" if name in renamed else b"old" for name in "abc"}


def test_files_write_all_atomic_guard_names_the_file(tmp_path, monkeypatch):
    fail_at(monkeypatch, "fsync", 2, FULL)
    with pytest.raises(UsageError, match=r"c: cannot be written: No space left on device$"):
        write_all_atomic({tmp_path / name: b"new" for name in "acd"}, guard=write_errors)
    assert content(tmp_path) == {}


def test_files_write_atomic_not_durable_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    fail_at(monkeypatch, "fsync", 1, FULL)
    write_atomic(tmp_path / "a.png", b"new", durable=False)
    assert content(tmp_path) == {"a.png": b"new"}


def test_files_write_atomic_folder_that_cannot_be_synced(tmp_path, monkeypatch):
    fail_at(monkeypatch, "fsync", 2, OSError(errno.EINVAL, "not on this file system"))
    write_atomic(tmp_path / "a", b"new")
    assert content(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt])
def test_files_atomic_path(tmp_path, end):
    path = tmp_path / "net.pt"
    path.write_bytes(b"old")
    try:
        with atomic_path(path) as part:
            part.write_bytes(b"new")
            if end:
                raise end
    except BaseException as error:
        assert type(error) is end  # noqa: PT017
    assert content(tmp_path) == {"net.pt": b"old" if end else b"new"}


def test_files_atomic_path_keeps_the_name(tmp_path):
    # torch.save writes it into the file: with a random one no two runs would give the same bytes.
    with atomic_path(tmp_path / "net.pt") as part:
        part.write_bytes(b"new")
        assert part.name == "net.pt"
        assert part.parent.parent == tmp_path


@pytest.mark.parametrize("durable", [True, False])
def test_files_write_all_atomic_writes_to_a_pipe(tmp_path, durable):
    pipe, file, received = tmp_path / "pipe", tmp_path / "a", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_all_atomic({pipe: b"new", file: b"too"}, durable=durable)
    reader.join(10)
    assert received == [b"new"]
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "pipe"]


def test_files_write_atomic_failure_leaves_a_device(tmp_path):
    device = tmp_path / "full"
    device.symlink_to("/dev/full")
    with pytest.raises(UsageError, match="full: cannot be written: No space left on device"):
        write_atomic(device, b"new", guard=write_errors)
    assert device.is_symlink()
    assert list(tmp_path.iterdir()) == [device]


def test_files_written_with_the_users_permissions(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")
    with atomic_path(tmp_path / "path") as part:
        part.write_bytes(b"")
    for name in ("atomic", "path"):
        assert (tmp_path / name).stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_files_writers_at_once_do_not_mix(tmp_path):
    path, contents = tmp_path / "a", [bytes([level]) * 100_000 for level in range(4)]
    writers = [
        threading.Thread(target=lambda data=data: [write_atomic(path, data, durable=False) for _ in range(20)])
        for data in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not path.exists() or path.read_bytes() in contents
    assert list(content(tmp_path)) == ["a"]


def test_files_long_names(tmp_path):
    write_atomic(tmp_path / ("x" * 255), b"new")
    assert content(tmp_path) == {"x" * 255: b"new"}


def test_files_remove_leftovers(tmp_path, monkeypatch):
    path, other = tmp_path / "[a].engine", tmp_path / "a.engine"
    monkeypatch.setattr(os, "replace", lambda *_: None)
    for each in (path, other):
        write_atomic(each, b"half")
    monkeypatch.undo()
    (tmp_path / "[a].part.engine").write_bytes(b"a user's")
    assert len(content(tmp_path)) == 3
    remove_leftovers(path)
    assert sorted(name.startswith(".a.engine.") for name in content(tmp_path)) == [False, True]


@pytest.mark.parametrize(("name", "part"), [("a.mp4", "a.part.mp4"), ("a", "a.part"), ("a.b.jsonl", "a.b.part.jsonl")])
def test_files_part_path_and_move_into_place(tmp_path, name, part):
    assert part_path(tmp_path / name) == tmp_path / part
    (tmp_path / part).write_bytes(b"new")
    move_into_place(tmp_path / part, tmp_path / name)
    assert content(tmp_path) == {name: b"new"}


@pytest.mark.parametrize(
    ("cause", "options", "message"),
    [
        (FULL, {}, "a.json: cannot be written: No space left on device"),
        (OSError("torch\n said so"), {}, "a.json: cannot be written: torch said so"),
        (FULL, {"advice": "make room"}, "a.json: cannot be written: No space left on device; make room"),
        (FULL, {"error": EngineError}, "a.json: cannot be written: No space left on device"),
    ],
)
def test_files_write_errors(cause, options, message):
    with pytest.raises(options.get("error", UsageError)) as error, write_errors(Path("a.json"), **options):
        raise cause
    assert str(error.value) == message
    assert error.value.__cause__ is cause


def test_files_write_errors_leaves_a_closed_pipe_alone():
    with pytest.raises(BrokenPipeError), write_errors("-"):
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("name", "reason"),
    [("folder", "Is a directory"), ("file/a.onnx", "Not a directory"), ("/proc/none/a.onnx", "")],
)
def test_files_check_writable_refuses(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=rf"cannot be written: {reason}.*; choose another --json"):
        check_writable(tmp_path / name, "--json")
    assert sorted(content_names(tmp_path)) == ["file", "folder"]


def test_files_check_writable_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "some" / "where" / "x.onnx")
    assert content_names(tmp_path) == []


def content_names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("name", ["x.png", "x.part.png"])
def test_files_refuse_overwriting(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    sources = file_ids([tmp_path / "missing.png", tmp_path / "." / name])
    with pytest.raises(UsageError, match=r"x\.png: would be written over a file that frames are read from"):
        refuse_overwriting(tmp_path / "x.png", sources)
    refuse_overwriting(tmp_path / "y.png", sources)
