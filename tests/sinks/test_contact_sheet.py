"""Contact sheets: which images are shown, and where."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
from nanoseg.sinks.contact_sheet import ContactSheet  # noqa: E402


def sheet_of(images):
    sheet = ContactSheet()
    for image in images:
        sheet.add(image)
    return cv2.imdecode(np.frombuffer(sheet.encode_png(), np.uint8), cv2.IMREAD_COLOR)


def grey(level, height=30, width=40):
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("tiles", "shape"), [(1, (30, 40)), (2, (30, 80)), (4, (60, 80)), (7, (90, 120)), (9, (90, 120))]
)
def test_contact_sheet_shows_few_images_in_order(tiles, shape):
    sheet = sheet_of(grey(10 + i) for i in range(tiles))
    assert sheet.shape == (*shape, 3)
    columns = shape[1] // 40
    for i in range(tiles):
        top, left = i // columns * 30, i % columns * 40
        assert (sheet[top : top + 30, left : left + 40] == 10 + i).all()


@pytest.mark.parametrize("count", [10, 18, 19, 36, 37, 100, 250])
def test_contact_sheet_spreads_many_images(count):
    sheet = sheet_of(grey(i) for i in range(count))
    assert sheet.shape == (90, 120, 3)
    shown = [int(sheet[row * 30 + 5, column * 40 + 5, 0]) for row in range(3) for column in range(3)]
    assert shown[0] == 0
    assert shown[-1] >= count / 2
    gaps = np.diff(shown)
    assert gaps.min() >= 1
    assert gaps.max() <= 2 * gaps.min()


def test_contact_sheet_fits_another_shape():
    sheet = sheet_of([grey(0), grey(200, height=60, width=20)])
    tile = sheet[:, 40:]
    assert (tile[:, 15:25] == 200).all()
    assert (tile[:, :15] == 0).all()
    assert (tile[:, 25:] == 0).all()


def test_contact_sheet_halves_wide_frames():
    assert sheet_of([grey(7, 1080, 1920)]).shape == (540, 960, 3)
