"""Files read with limits: what is no file, too large or no text is one line."""

import os
import socket

import pytest

from nanoseg.errors import BundleError, NanosegError, UsageError
from nanoseg.utils.read_file import MAX_TEXT_BYTES, check_file, format_bytes, open_file, read_bytes, read_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"a\r\nb\n", "a\r\nb\n"),
        ("\ufeffname".encode(), "name"),
        ("Mütze 🧢".encode(), "Mütze 🧢"),
        (b"x" * MAX_TEXT_BYTES, "x" * MAX_TEXT_BYTES),
    ],
)
def test_read_text_reads(tmp_path, content, text):
    (tmp_path / "a.txt").write_bytes(content)
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = 1\n".encode("utf-16"), "wanted UTF-8 text, got UTF-16; save it in the encoding UTF-8"),
        ("a = 1\n".encode("utf-16-le"), "wanted UTF-8 text, got UTF-16; save it in the encoding UTF-8"),
        ("a = 1\n".encode("utf-16-be"), "wanted UTF-8 text, got UTF-16; save it in the encoding UTF-8"),
        ("a = 1\n".encode("utf-32"), "wanted UTF-8 text, got UTF-32; save it in the encoding UTF-8"),
        (b"a\nM\xfctze", "line 2: wanted UTF-8 text, got byte 0xfc; save it in the encoding UTF-8"),
        (b"a\n" * 40000 + b"\x91", "line 40001: wanted UTF-8 text, got byte 0x91"),
        (b"a = 1\0", "wanted UTF-8 text, got NUL bytes: no text"),
        (b"x" * (MAX_TEXT_BYTES + 1), "cannot be read: 1000001 bytes are more than the limit of 1000000"),
    ],
)
def test_read_text_refuses(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(BundleError) as raised:
        read_text(tmp_path / "a.txt", error=BundleError)
    assert str(raised.value).startswith(f"{tmp_path / 'a.txt'}: {message}")


def make_special(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif kind:
        path.symlink_to(kind)


SPECIAL = [
    ("pipe", "cannot be read: it is a FIFO, wanted a file; look there"),
    ("link to a pipe", "cannot be read: it is a FIFO, wanted a file; look there"),
    ("socket", "cannot be read: it is a socket, wanted a file; look there"),
    ("folder", "cannot be read: it is a folder; look there"),
    ("/dev/zero", "cannot be read: it is a device, wanted a file; look there"),
    ("/dev/tty", "cannot be read: it is a device, wanted a file; look there"),
    ("loop", "cannot be read: Too many levels of symbolic links; look there"),
    ("", "cannot be read: No such file or directory; look there"),
]


@pytest.mark.parametrize(("kind", "message"), SPECIAL)
@pytest.mark.parametrize("read", [read_text, read_bytes, check_file])
def test_read_refuses_what_is_no_file(tmp_path, kind, message, read):
    path = tmp_path / "f"
    make_special(kind, path)
    with pytest.raises(UsageError) as raised:
        read(path, hint="; look there")
    assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize("read", [read_text, read_bytes])
def test_read_refuses_a_sparse_giant_unread(tmp_path, read):
    make_special("sparse", tmp_path / "f")
    with pytest.raises(UsageError, match=r"NUL bytes: no text|bytes are more than the limit of 1000000"):
        read(tmp_path / "f")


def test_read_limits_what_states_no_size():
    with pytest.raises(UsageError, match=r"11 bytes are more than the limit of 10"):
        read_bytes("/proc/self/status", 10)  # the system says 0 bytes
    assert read_text("/proc/self/status").startswith("Name:")


def test_read_refuses_a_name_with_nul():
    with pytest.raises(UsageError, match="cannot be read: a name with a NUL in it"):
        read_bytes("a\0b")


def test_open_file_keeps_the_errors_of_its_block(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert check_file(tmp_path / "f") == 3
    with pytest.raises(NanosegError, match="cannot be read: Input/output error"), open_file(tmp_path / "f"):
        raise OSError(5, "Input/output error")
    with pytest.raises(ValueError, match="mine"), open_file(tmp_path / "f"):
        raise ValueError("mine")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (5_300_000_000, "5.3 GB")]
)
def test_format_bytes(count, text):
    assert format_bytes(count) == text
