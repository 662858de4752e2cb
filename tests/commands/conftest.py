"""Segmenters, images and errors for the tests of the verbs."""

import numpy as np
import pytest

import nanoseg
from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left


@pytest.fixture
def oracle(monkeypatch):
    """The segmenter that `nanoseg.load` returns; `.calls` holds the arguments of that call."""
    made = FakeSegmenter(nut_in_upper_left)

    def load(*args, **kwargs):
        made.calls = (args, kwargs)
        return made

    monkeypatch.setattr(nanoseg, "load", load)
    return made


@pytest.fixture
def photos(tmp_path):
    """A folder of three images."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.jpg", "c.png")):
        assert cv2.imwrite(str(folder / name), np.full((48, 64, 3), 40 * i, np.uint8))
    return folder
