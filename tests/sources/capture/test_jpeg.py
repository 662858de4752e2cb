"""Pictures of MJPEG cameras: whole ones are shown, damaged ones are not."""

import numpy as np
import pytest

from nanoseg.sources.capture.jpeg import decode_jpeg, encode_jpeg

IMAGE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8).repeat(4, 0).repeat(4, 1)


def without_tables(data):
    """Leave out the Huffman tables, as UVC cameras do."""
    out, at = data[:2], 2
    while data[at : at + 2] != b"\xff\xda":
        length = int.from_bytes(data[at + 2 : at + 4], "big") + 2
        if data[at + 1] != 0xC4:
            out += data[at : at + length]
        at += length
    return out + data[at:]


@pytest.mark.parametrize("change", [bytes, without_tables, lambda data: data + bytes(500)])
def test_whole_pictures_are_decoded(change):
    image = decode_jpeg(change(encode_jpeg(IMAGE)))
    assert image is not None
    np.testing.assert_array_equal(image, decode_jpeg(encode_jpeg(IMAGE)))
    assert image.shape == IMAGE.shape
    assert np.abs(image.astype(int) - IMAGE).mean() < 20


def test_pictures_cut_anywhere_are_not_shown():
    data = encode_jpeg(IMAGE)
    for end in np.random.default_rng(2).integers(0, len(data), 200):
        assert decode_jpeg(data[:end]) is None
        assert decode_jpeg(data[:end] + bytes(300)) is None


def test_pictures_with_a_hole_are_not_shown():
    data = encode_jpeg(IMAGE)
    middle = len(data) // 2
    assert decode_jpeg(data[:middle] + data[middle + 2000 :]) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff\xd9", b"GIF89a", bytes(100), b"\xff\xd8" + bytes(9) + b"\xff\xd9"]
)
def test_what_is_no_picture_is_none(data):
    assert decode_jpeg(data) is None
