"""Opening sources: which files of folders and globs are read, and what is refused."""

import itertools
import os

import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.sources.open import open_source
from tests.sources.encoded_images import encoded

cv2 = pytest.importorskip("cv2")


def folder_with_unreadable_images(folder):
    for name in ("b.png", "a.png", "e.png"):
        (folder / name).write_bytes(encoded(".png"))
    (folder / "c.png").write_bytes(b"")
    (folder / "d.jpg").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("none of it")
    (folder / "inside").mkdir()
    (folder / "inside" / "f.png").write_bytes(encoded(".png"))


@pytest.mark.parametrize("as_glob", [False, True])
def test_open_folder_skips_unreadable_images(tmp_path, as_glob):
    folder_with_unreadable_images(tmp_path)
    errors = []
    source = open_source(f"{tmp_path}/?.*" if as_glob else tmp_path, on_error=errors.append)
    frames = list(source)
    assert source.count == 5
    assert source.fps is None
    assert [(frame.index, frame.name) for frame in frames] == [
        (index, str(tmp_path / name)) for index, name in ((0, "a.png"), (1, "b.png"), (4, "e.png"))
    ]
    assert all(frame.captured_ns > 0 for frame in frames)
    assert [str(error).partition(": ")[0] for error in errors] == [str(tmp_path / "c.png"), str(tmp_path / "d.jpg")]
    with pytest.raises(SourceError, match=r"c\.png: the file is empty"):
        list(open_source(tmp_path))


def test_open_glob_of_subfolders(tmp_path):
    folder_with_unreadable_images(tmp_path)
    names = [frame.name for frame in open_source(f"{tmp_path}/**/[ef].png")]
    assert names == [str(tmp_path / "e.png"), str(tmp_path / "inside" / "f.png")]


def test_open_name_with_a_bracket(tmp_path):
    (tmp_path / "a[1].png").write_bytes(encoded(".png"))
    assert len(list(open_source(tmp_path / "a[1].png"))) == 1


def test_open_name_that_is_not_utf8(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/a\xff.png", "wb") as file:
            file.write(encoded(".png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (frame,) = open_source(tmp_path)
    assert frame.name == str(tmp_path / r"a\xff.png")


def test_open_folder_without_a_readable_image(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    errors = []
    with pytest.raises(SourceError, match="none of 2 pictures could be read"):
        list(open_source(tmp_path, on_error=errors.append))
    assert len(errors) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}/nothing.jpg", "no such file or folder"),
        ("{}/" + "a" * 5000, "cannot be read: File name too long"),
        ("{}/*.jpg", "no file has such a name"),
        ("{}", "no pictures in this folder"),
        (
            "ftp://user:secret@host/a.mp4",
            r"^ftp://\*\*\*@host/a.mp4: no such kind of source; wanted an image",
        ),
        ("file://elsewhere/a.png", "^file://elsewhere/a.png: no such kind of source"),
        ("file://{}/nothing.png", "nothing.png: no such file or folder"),
    ],
)
def test_open_refuses(tmp_path, source, message):
    with pytest.raises(SourceError, match=message):
        open_source(source.format(tmp_path))


@pytest.mark.parametrize("url", ["file://{}", "file://localhost{}", "FILE://{}", "file:{}"])
def test_open_file_urls(tmp_path, url):
    for name, quoted in (("a.png", "a.png"), ("b c%.png", "b%20c%25.png")):
        (tmp_path / name).write_bytes(encoded(".png"))
        source = open_source(url.format(f"{tmp_path}/{quoted}"))
        assert ([frame.name for frame in source], source.paths) == ([str(tmp_path / name)], (tmp_path / name,))
    assert open_source(url.format(tmp_path)).count == 2
    assert open_source(url.format(f"{tmp_path}/*.png")).count == 2


def test_open_a_file_named_like_a_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(encoded(".png"))
    assert open_source("0").count == 1
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / "a.png").write_bytes(encoded(".png"))
    assert open_source("2024").count == 1


@pytest.mark.parametrize("verb", [("run",), ("demo",), ("segment", "--point", "1,2")])
def test_open_prints_no_password(call, verb):
    code, out, err = call(verb[0], "ftp://user:se@cret/@host/1", *verb[1:])
    assert (code, out) == (3, "")
    assert "cret" not in err
    assert "***@host" in err


def test_open_parts():
    source = open_source("parts://?seed=3&size=64x48&objects=2")
    frames = list(itertools.islice(source, 3))
    assert (source.count, source.fps) == (None, 25.0)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (48, 64, 3)
    with pytest.raises(UsageError, match="no such key 'speed'"):
        open_source("parts://?speed=3")
