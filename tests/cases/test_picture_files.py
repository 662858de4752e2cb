"""Folders and globs: each picture once, whatever its suffix, and one line for what is left out."""

import os
import shlex
import socket

import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.open import open_source
from tests.sources.encoded_images import encoded

pytest.importorskip("cv2")


def fill(folder, **files):
    """Write files by name, a dot for `__`: an image of a suffix, or bytes."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content) if isinstance(content, str) else content)


def names(source):
    return [os.path.relpath(path, os.getcwd()) for path in source.paths]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("source", ["f", "f/*", "f/**", "./f/*", "f/**/*", "f/"])
def test_folder_takes_pictures_of_every_suffix(tmp_path, caplog, source):
    fill(tmp_path / "f", a__JPG=".jpg", b__jfif=".jpg", c__jpe=".jpg", d__gif=b"GIF89a", e__HEIC=b"\0\0\0\x1cftypheic")
    fill(
        tmp_path / "f",
        f__mp4=b"\0\0\0\x18ftypmp42",
        g=".png",
        h__dat=".webp",
        i__txt=b"0 1 2",
        j__txt=b"",
        __k__png=".png",
    )
    opened = open_source(source)
    assert names(opened) == ["f/a.JPG", "f/b.jfif", "f/c.jpe", "f/d.gif", "f/e.HEIC", "f/g", "f/h.dat"]
    assert opened.left_out == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{source.rstrip('/')}: left out what is no picture: 2 .txt, 1 .mp4"
    ]


def test_folder_without_others_says_nothing(tmp_path, caplog):
    fill(tmp_path / "f", a__jpg=".jpg")
    assert open_source("f").left_out == 0
    assert not caplog.records


def test_folder_tells_of_folders_and_many_kinds(tmp_path, caplog):
    fill(tmp_path / "f", a__jpg=".jpg", **{f"a__{kind}": b"" for kind in "bcdefgh"})
    (tmp_path / "f" / "inside").mkdir()
    open_source("f")
    (record,) = caplog.records
    assert record.getMessage().endswith("1 .b, 1 .c, 1 .d, 1 .e, 1 .f, 2 of other kinds, 1 folder")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("f", r"f: no pictures in this folder but 1 \.mp4"),
        ("f/*", r"f/\*: matches no picture but 1 \.mp4; a video is given by its own name"),
        ("f/*.mkv", "no file has such a name"),
        ("none/**/*.png", "no file has such a name"),
    ],
)
def test_folder_without_a_picture(tmp_path, source, message):
    fill(tmp_path / "f", a__mp4=b"\0\0\0\x18ftypmp42")
    with pytest.raises(SourceError, match=message):
        open_source(source)


def loop_upwards(folder):
    (folder / "sub" / "up").symlink_to("..")


def loop_to_itself(folder):
    (folder / "sub" / "self").symlink_to(".")
    (folder / "sub" / "nowhere").symlink_to("nowhere")


def many_loops(folder):
    for i in range(6):
        (folder / f"up{i}").symlink_to("..")
        (folder / "sub" / f"up{i}").symlink_to("..")


def cycle_of_two(folder):
    (folder / "other").mkdir()
    (folder / "other" / "there").symlink_to("../sub")
    (folder / "sub" / "back").symlink_to("../other")


def two_links_to_a_folder(folder):
    (folder / "link1").symlink_to("sub")
    (folder / "link2").symlink_to(folder / "sub")


def links_to_the_file(folder):
    (folder / "sub" / "b.png").symlink_to("a.png")
    (folder / "c.png").symlink_to("sub/a.png")


@pytest.mark.parametrize(
    "pattern", ["loop/**/*.png", "loop/**", "**/loop/**/*.png", "loop/**/**/*.p?g", "loop/*/**/*.png"]
)
@pytest.mark.parametrize(
    "link", [loop_upwards, loop_to_itself, many_loops, cycle_of_two, two_links_to_a_folder, links_to_the_file]
)
def test_glob_reads_each_picture_once(tmp_path, pattern, link):
    fill(tmp_path / "loop" / "sub", a__png=".png")
    link(tmp_path / "loop")
    (path,) = names(open_source(pattern))
    assert os.path.samefile(path, "loop/sub/a.png")


def test_glob_keeps_hard_links_and_links_to_pictures_elsewhere(tmp_path):
    fill(tmp_path / "f", a__png=".png")
    fill(tmp_path / "elsewhere", c__png=".png")
    os.link("f/a.png", "f/b.png")
    os.symlink("../elsewhere/c.png", "f/c.png")
    assert names(open_source("f/*.png")) == names(open_source("f")) == ["f/a.png", "f/b.png", "f/c.png"]


@pytest.mark.parametrize(
    "pattern", ["f/[ab].png", "?/*.png", "f/*.p[n]g", "{here}/f/*.png", "f/../f/*.png", "*/[!c].png"]
)
def test_glob_patterns(tmp_path, pattern):
    fill(tmp_path / "f", a__png=".png", b__png=".png", __hidden__png=".png")
    found = open_source(pattern.format(here=tmp_path))
    assert [path.name for path in found.paths] == ["a.png", "b.png"]


def test_glob_of_hidden_names(tmp_path):
    fill(tmp_path / ".f", a__png=".png")
    assert names(open_source(".f/*")) == names(open_source(".*/*.png")) == [".f/a.png"]
    with pytest.raises(SourceError):
        open_source("**/*.png")


@pytest.mark.parametrize("folder", ["shots [2024]", "a[b", "what?", "it's [1]", "*", "[!x]", "two words"])
def test_folder_with_marks_in_its_name(tmp_path, folder):
    fill(tmp_path / folder / "in", a__png=".png")
    with pytest.raises(SourceError, match="no pictures in this folder") as raised:
        open_source(folder)
    (advice,) = shlex.split(str(raised.value).partition("inside it give ")[2])
    for pattern in (advice, f"{folder}/**/*.png", f"{folder}/in/*", f"{tmp_path}/{folder}/*/a.*"):
        assert len(open_source(pattern).paths) == 1, pattern
    fill(tmp_path / folder, **{"b[1]__png": ".png"})
    assert names(open_source(folder)) == names(open_source(f"{folder}/b[1].png")) == [f"{folder}/b[1].png"]


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def make_giant(path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # sparse: it occupies no disk space


SPECIAL = {
    "fifo": (os.mkfifo, "FIFO"),
    "socket": (make_socket, "a socket"),
    "device": (lambda path: os.symlink("/dev/zero", path), "a device"),
    "terminal": (lambda path: os.symlink("/dev/tty", path), "a device"),
    "folder": (os.mkdir, "folder|no pictures"),
    "giant": (make_giant, "got a file that begins"),
    "link to nothing": (lambda path: os.symlink("nothing", path), "[Nn]o such file"),
    "link to itself": (lambda path: os.symlink(path, path), "[Nn]o such file|symbolic links"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_told_at_once(tmp_path, kind):
    make, message = SPECIAL[kind]
    fill(tmp_path / "f", a__png=".png")
    make("f/b.png")
    with pytest.raises(SourceError, match=message):
        list(open_source("f/b.png"))
    errors = []
    assert len(list(open_source("f", on_error=errors.append))) == 1
    assert len(errors) == (kind != "folder")


def test_picture_that_vanishes_or_is_closed(tmp_path):
    fill(tmp_path / "f", a__png=".png", b__png=".png", c__png=".png")
    errors = []
    source = open_source("f", on_error=errors.append)
    os.remove("f/b.png")
    os.chmod("f/c.png", 0)
    count = len(list(source))
    assert [str(error).rpartition(": ")[2] for error in errors] == [
        "No such file or directory",
        "Permission denied",
    ][: 3 - count]  # root may read everything
