"""A segmenter of stand-ins, and a photograph for it."""

import pytest

from tests.commands.segment.engines import use
from tests.helpers.saved_masks import IMAGE


@pytest.fixture
def pipeline(monkeypatch):
    """What `nanoseg.load` gives: fake engines that take masks."""
    return use(monkeypatch, takes_masks=True)


@pytest.fixture
def photo(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), IMAGE)
    return path
