"""Annotated images in a folder."""

import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks.images import ImageFolder
from tests.fakes.segmenter import nut_in_upper_left
from tests.sinks.frames import frame

cv2 = pytest.importorskip("cv2")


def test_images_keep_their_names(tmp_path):
    names = ["a/x.png", "b/x.png", "c/x.bmp", "c/scan", "c/x-2.png", ""]
    with ImageFolder(tmp_path / "out") as sink:
        for index, name in enumerate(names):
            one = frame(index, name, level=index)
            sink.write(one, nut_in_upper_left(one), one.image)
    written = {path.name: int(cv2.imread(str(path))[0, 0, 0]) for path in (tmp_path / "out").iterdir()}
    assert written == {"x.png": 0, "x-2.png": 1, "x.bmp": 2, "scan.png": 3, "x-2-2.png": 4, "frame-000005.png": 5}


def test_images_too_large_for_the_format(tmp_path):
    one = frame(0, "wide.webp", (2, 20_000))
    with (
        ImageFolder(tmp_path) as sink,
        pytest.raises(UsageError, match=r"20000 x 2 pixels cannot be written as \.webp"),
    ):
        sink.write(one, nut_in_upper_left(one), one.image)


def test_images_of_names_that_are_too_long(tmp_path):
    names = [r"\xff" * 100 + f"{end}.png" for end in "ab"] + ["ö" * 120 + ".JPG", "a." + "b" * 240]
    with ImageFolder(tmp_path) as sink:
        for index, name in enumerate(names):
            one = frame(index, name)
            sink.write(one, nut_in_upper_left(one), one.image)
    assert sorted(path.suffix for path in tmp_path.glob("*-*.*")) == [".JPG", ".png", ".png", ".png"]
