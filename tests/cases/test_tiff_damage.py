"""Damage inside the compressed pixels of a TIFF: told where they have a checksum, which only deflate gives them."""

import struct
import zlib

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.image_headers import read_header
from nanoseg.sources.images import read_image
from tests.sources.encoded_images import encoded

cv2 = pytest.importorskip("cv2")

LIMIT = 1_000_000
NOISE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8), (9, 9), 0)
DEFLATE, LZW = 8, 5


def tiff(compression):
    return encoded(".tif", NOISE, cv2.IMWRITE_TIFF_COMPRESSION, compression)


def tiff_of(stream):
    """A TIFF of 4 x 4 grey pixels, in one strip of these bytes."""
    values = {256: 4, 257: 4, 258: 8, 259: DEFLATE, 262: 1, 273: 8, 277: 1, 278: 4, 279: len(stream)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<I", 8 + len(stream)) + stream + struct.pack("<H", len(values)) + entries + bytes(4)


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bit_in_deflate_is_told(tmp_path, capfd, seed):
    rng, data = np.random.default_rng(seed), bytearray(tiff(DEFLATE))
    at, size = read_header(bytes(data)).deflated[int(rng.integers(2))]
    data[at + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.tif: the TIFF file is damaged: .*; copy it again"):
        read_image(tmp_path / "a.tif", LIMIT)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", [DEFLATE, LZW, 1, 32773])
def test_whole_tiff_is_read_without_a_word(tmp_path, capfd, caplog, compression):
    (tmp_path / "a.tif").write_bytes(tiff(compression))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", LIMIT), NOISE)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


WHOLE = zlib.compress(bytes(range(16)))


@pytest.mark.parametrize(
    ("stream", "is_whole"),
    [
        (WHOLE, True),
        (WHOLE + b"\0", True),  # filled up to an even size
        (WHOLE[:-4], True),  # no checksum, all the pixels
        (WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]), False),
        (zlib.compress(bytes(range(16)) + bytes(99)), True),  # more rows than the picture has
    ],
    ids=["whole", "filled up", "without a checksum", "checksum", "more rows"],
)
def test_odd_deflate_in_a_tiff(tmp_path, stream, is_whole):
    (tmp_path / "a.tif").write_bytes(tiff_of(stream))
    if is_whole:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", LIMIT)[..., 0].ravel(), np.arange(16))
        return
    with pytest.raises(SourceError, match="incorrect data check"):
        read_image(tmp_path / "a.tif", LIMIT)


def test_deflate_that_unpacks_to_gigabytes_is_not_read_to_its_end(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of(zlib.compress(bytes(1 << 26))))
    assert not read_image(tmp_path / "a.tif", LIMIT).any()
