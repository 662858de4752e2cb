"""Encoded images, as the content of a file."""

import struct

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
LIMIT = 1_000_000


def ramp(width=40, height=30):
    """Return a smooth BGR ramp, which JPEG keeps within a few levels."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)


def encoded(suffix, image=None, *flags):
    good, data = cv2.imencode(suffix, ramp() if image is None else image, list(flags))
    assert good
    return data.tobytes()


def huge_png():
    """Return a PNG whose valid header has 100,000 x 100,000 pixels."""
    data = bytearray(encoded(".png"))
    struct.pack_into(">II", data, 16, 100_000, 100_000)
    return bytes(data)
