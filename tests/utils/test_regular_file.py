"""Reading files of any kind and size: what is no regular file, or too large, is an OSError at once."""

import errno
import os
import socket

import pytest

from nanoseg.utils.regular_file import open_regular, read_regular


def test_read_regular_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with open_regular(str(tmp_path / "a")) as file:
        assert file.read(2) == b"12"
    with pytest.raises(OSError, match="5 bytes are more than the limit of 4") as raised:
        read_regular(tmp_path / "a", 4)
    assert raised.value.errno == errno.EFBIG


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(path))  # the name of a socket has at most 107 bytes


def make_giant(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: it occupies no disk space


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_fifo, "it is a FIFO, wanted a file"),
        (make_socket, "it is a socket, wanted a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, wanted a file"),
        (lambda path: path.symlink_to("/dev/tty"), "it is a device, wanted a file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.mkdir(), "it is a folder"),
        (make_giant, "1099511627776 bytes are more than the limit of 1000"),
        (lambda path: path.symlink_to("missing"), "No such file or directory"),
    ],
)
def test_read_regular_refuses_at_once(tmp_path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a")
    with pytest.raises(OSError, match=reason) as raised:
        read_regular(tmp_path / "a", 1000)
    assert reason in raised.value.strerror


def test_read_regular_of_a_file_without_a_size():
    assert os.stat("/proc/self/status").st_size == 0
    assert b"Name:" in read_regular("/proc/self/status", 100_000)
    with pytest.raises(OSError, match="11 bytes are more than the limit of 10"):
        read_regular("/proc/self/status", 10)
