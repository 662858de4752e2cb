"""Outputs behind symbolic links and of open descriptors: what they lead to is written, and they stay."""

import errno
import os

import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.utils.files import (
    atomic_path,
    check_writable,
    move_into_place,
    refuse_overwriting,
    write_all_atomic,
    write_atomic,
    write_errors,
)
from nanoseg.utils.folders import make_output_folder


def by_write_atomic(path):
    write_atomic(path, b"new", guard=write_errors)


def by_atomic_path(path):
    with write_errors(path), atomic_path(path) as part:
        part.write_bytes(b"new")


def by_growing_file(path):
    file = GrowingFile(path)
    with write_errors(path), file.open() as stream:
        stream.write(b"new")
    file.end(None, usable=True)


WRITERS = (by_write_atomic, by_atomic_path, by_growing_file)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("old", [b"older", None], ids=["file", "dangling"])
def test_output_behind_links(tmp_path, write, old):
    target, link, second = tmp_path / "data" / "real", tmp_path / "link.json", tmp_path / "second.json"
    target.parent.mkdir()
    if old is not None:
        target.write_bytes(old)
    link.symlink_to(os.path.join("data", "real"))
    second.symlink_to(link)
    check_writable(second)
    write(second)
    assert target.read_bytes() == b"new"
    assert (link.is_symlink(), second.is_symlink(), target.is_symlink()) == (True, True, False)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "link.json", "real", "second.json"]


@pytest.mark.parametrize("write", WRITERS)
def test_output_of_an_open_descriptor(tmp_path, write):
    """As a shell gives it with `>> file`: it is the same file afterwards, and goes on where it was."""
    path = tmp_path / "file"
    path.write_bytes(b"before,")
    with path.open("ab") as file:
        inode = os.fstat(file.fileno()).st_ino
        for folder in ("/dev/fd", "/proc/self/fd", f"/proc/{os.getpid()}/fd"):
            name = f"{folder}/{file.fileno()}"
            check_writable(tmp_path / name)
            write(tmp_path / name)
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        write(tmp_path / "link")
    assert path.read_bytes() == b"before,newnewnewnew"
    assert path.stat().st_ino == inode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("write", WRITERS)
def test_output_of_a_pipe(tmp_path, write):
    reader, writer = os.pipe()
    write(tmp_path / f"/dev/fd/{writer}")
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"new"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("links", "reason"),
    [
        ({"a": "b", "b": "a"}, "Too many levels of symbolic links"),
        ({"a": "a"}, "Too many levels of symbolic links"),
        ({"a": "folder"}, "[Ii]s a (folder|directory)"),
        ({"a": "/dev/fd/987654"}, "Bad file descriptor"),
    ],
)
def test_output_that_cannot_be_written(tmp_path, write, links, reason):
    (tmp_path / "folder").mkdir()
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    with pytest.raises(UsageError, match=rf"a: cannot be written: (it )?{reason}"):
        write(tmp_path / "a")
    assert {path.name: os.readlink(path) for path in tmp_path.iterdir() if path.is_symlink()} == links
    assert list((tmp_path / "folder").iterdir()) == []


def test_output_files_of_this_program_replace_links(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_all_atomic({tmp_path / "link": b"new"}, replace_special=True)
    assert (tmp_path / "real").read_bytes() == b"old"
    assert not (tmp_path / "link").is_symlink()


def test_output_partial_file_behind_a_link_is_no_source(tmp_path):
    (tmp_path / "data").mkdir()
    part, link = tmp_path / "data" / "real.part.mp4", tmp_path / "link.mp4"
    part.write_bytes(b"precious")
    link.symlink_to("data/real.mp4")
    status = part.stat()
    with pytest.raises(UsageError, match=r"link\.mp4: would be written over a file that frames are read from"):
        refuse_overwriting(link, {(status.st_dev, status.st_ino)})


def test_output_on_another_file_system(tmp_path, monkeypatch):
    real, moves = os.replace, []

    def replace(source, target):
        moves.append((source, target))
        if len(moves) == 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    (tmp_path / "a.part").write_bytes(b"new")
    move_into_place(tmp_path / "a.part", tmp_path / "a")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


@pytest.mark.parametrize("target", ["data/real", "data/second"], ids=["link", "link to a link"])
def test_output_folder_behind_a_link_to_nothing_yet(tmp_path, target):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "second").symlink_to("real")
    (tmp_path / "link").symlink_to(target)
    make_output_folder(tmp_path / "link")
    assert (tmp_path / "data" / "real").is_dir()
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="loop: cannot be made a folder to write to: Too many levels of symbolic"):
        make_output_folder(tmp_path / "loop")


def test_video_goes_neither_to_an_open_descriptor_nor_as_mp4_to_a_pipe(tmp_path):
    video = pytest.importorskip("nanoseg.sinks.video")
    (tmp_path / "log").write_bytes(b"before")
    with (tmp_path / "log").open("ab") as log:
        (tmp_path / "a.mkv").symlink_to(f"/dev/fd/{log.fileno()}")
        with pytest.raises(UsageError, match=r"a\.mkv: leads to an open descriptor; give --out a file or a folder"):
            video.Video(tmp_path / "a.mkv", 25)
    assert (tmp_path / "log").read_bytes() == b"before"
    os.mkfifo(tmp_path / "b.mp4")
    with pytest.raises(UsageError, match=r"b\.mp4: a pipe takes no \.mp4; give --out a pipe that is named \.mkv"):
        video.Video(tmp_path / "b.mp4", 25)
