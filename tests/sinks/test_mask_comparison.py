"""Pictures of a true and a found mask."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from nanoseg.sinks.mask_comparison import PICTURE_PX, draw_comparison  # noqa: E402

GREY = np.full((120, 200, 3), 128, np.uint8)


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)


@pytest.mark.parametrize(
    "xywh",
    [
        (60, 40, 30, 20),
        (0, 0, 200, 120),
        (-50, -20, 400, 300),
        (199, 119, 5, 5),
        (190.5, 3.25, 0.5, 0.25),
        (0, 50, 200, 1),
    ],
)
def test_draw_comparison_fits_the_picture(xywh):
    picture = decoded(draw_comparison(GREY, xywh, None, None))
    assert max(picture.shape[:2]) == PICTURE_PX
    assert min(picture.shape[:2]) >= 1


def test_draw_comparison_shows_both_masks():
    true, found = np.zeros((120, 200), bool), np.zeros((120, 200), bool)
    true[40:80, 60:100] = True
    found[40:80, 100:140] = True
    picture = decoded(draw_comparison(GREY, (60, 40, 80, 40), true, found))
    blue, green, red = picture[..., 0], picture[..., 1], picture[..., 2]
    outline = (green > blue + 50) & (green > red + 50)
    filled = (red > blue + 50) & (red > green + 20)
    assert outline.any()
    assert filled.any()
    # The found half lies right of the true one, which has an outline alone.
    assert np.nonzero(filled)[1].min() > np.median(np.nonzero(outline)[1])
    assert outline.sum() < 0.2 * filled.sum()
    nothing = decoded(draw_comparison(GREY, (60, 40, 80, 40), None, None))
    assert np.ptp(nothing, axis=2).max() < 12
    assert (GREY == 128).all()
