"""Pixels of cameras to BGR, against BT.601 in plain numpy."""

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.capture.pixels import ToBgr

H, W = 12, 16
DRAW = np.random.default_rng(4)
Y = DRAW.integers(16, 236, (H, W), np.uint8)
U, V = (DRAW.integers(64, 192, (H // 2, W // 2), np.uint8) for _ in range(2))


def bt601(y, u, v):
    """Return BGR of planes of one size, limited range."""
    y, u, v = 1.164383 * (y.astype(float) - 16), u.astype(float) - 128, v.astype(float) - 128
    channels = [y + 2.017232 * u, y - 0.391762 * u - 0.812968 * v, y + 1.596027 * v]
    return np.clip(np.round(np.stack(channels, -1)), 0, 255)


def doubled(plane):
    return plane.repeat(2, 0).repeat(2, 1)


def interleaved(*planes):
    return np.stack(planes, -1)


NV12 = np.vstack([Y, interleaved(U, V).reshape(H // 2, W)])
NV21 = np.vstack([Y, interleaved(V, U).reshape(H // 2, W)])
I420 = np.vstack([Y, U.reshape(H // 4, W), V.reshape(H // 4, W)])
U2, V2 = U.repeat(2, 0), V.repeat(2, 0)  # 4:2:2
ACROSS = bt601(Y, U2.repeat(2, 1), V2.repeat(2, 1))
CHROMA = interleaved(U2, V2).reshape(H, W)


@pytest.mark.parametrize(
    ("pixels", "form", "expected"),
    [
        (NV12, "NV12", bt601(Y, doubled(U), doubled(V))),
        (NV12, None, bt601(Y, doubled(U), doubled(V))),  # known by its height
        (NV12[..., None], "NV12", bt601(Y, doubled(U), doubled(V))),
        (NV21, "NV21", bt601(Y, doubled(U), doubled(V))),
        (I420, "I420", bt601(Y, doubled(U), doubled(V))),
        (interleaved(Y, CHROMA), "YUY2", ACROSS),
        (interleaved(Y, CHROMA), None, ACROSS),
        (interleaved(CHROMA, Y), "UYVY", ACROSS),
        (Y, None, interleaved(Y, Y, Y)),
        (Y[..., None], "GRAY8", interleaved(Y, Y, Y)),
        (interleaved(Y, Y // 2, Y // 3, Y), None, interleaved(Y, Y // 2, Y // 3)),
        (interleaved(Y, Y // 2, Y // 3), None, interleaved(Y, Y // 2, Y // 3)),
    ],
)
def test_convert(pixels, form, expected):
    bgr = ToBgr((W, H), form).convert(pixels)
    assert bgr.shape == (H, W, 3)
    assert np.abs(bgr.astype(float) - expected).max() <= 2
    assert bgr.flags.c_contiguous


def test_the_buffer_is_used_again_and_grows_with_the_picture():
    to_bgr = ToBgr((W, H))
    first, second = to_bgr.convert(Y), to_bgr.convert(Y // 2)
    assert first is second
    assert to_bgr.convert(np.zeros((30, 20), np.uint8)).shape == (30, 20, 3)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.uint16), np.zeros((0, 4), np.uint8), np.zeros(9, np.uint8)],
)
def test_convert_refuses_what_is_no_picture(pixels):
    with pytest.raises(SourceError, match="wanted pictures of"):
        ToBgr().convert(pixels)


def test_planes_of_an_odd_size_are_refused():
    with pytest.raises(SourceError, match="wanted NV12 of an even size"):
        ToBgr(form="NV12").convert(np.zeros((10, 15), np.uint8))
