"""Damage inside the compressed pixels of a TIFF: told where they have a checksum, which only deflate gives them."""

import struct
import zlib

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.image_headers import read_header
from nanoseg.sources.images import read_image
from nanoseg.sources.tiff_header import read_tiff_header
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
    at, size, _ = read_header(bytes(data)).deflated[int(rng.integers(2))]
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
    ("stream", "damage"),
    [
        (WHOLE, None),
        (WHOLE + b"\0", None),  # filled up to an even size
        (WHOLE[:-4], None),  # no checksum, all the pixels
        (WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]), "incorrect data check"),
        (WHOLE[:-9], "of 16 bytes of pixels"),
        (zlib.compress(bytes(range(12))), "12 of 16 bytes of pixels"),
        (zlib.compress(bytes(range(16)) + bytes(99)), None),  # more rows than the picture has
    ],
    ids=["whole", "filled up", "without a checksum", "checksum", "cut off", "fewer rows", "more rows"],
)
def test_odd_deflate_in_a_tiff(tmp_path, stream, damage):
    (tmp_path / "a.tif").write_bytes(tiff_of(stream))
    if damage is None:
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", LIMIT)[..., 0].ravel(), np.arange(16))
        return
    with pytest.raises(SourceError, match=damage):
        read_image(tmp_path / "a.tif", LIMIT)


def test_deflate_that_unpacks_to_gigabytes_is_not_read_to_its_end(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of(zlib.compress(bytes(1 << 26))))
    assert not read_image(tmp_path / "a.tif", LIMIT).any()


@pytest.mark.parametrize("bits", [1, 8, 16])
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("layout", ["strips", "tiles"])
def test_whole_pieces_have_the_bytes_that_are_wanted(bits, planes, layout):
    """Of 20 x 21 pixels, in strips of 8 rows or tiles of 16 x 16, of 3 samples together or apart."""
    samples = 3 if planes == 1 else 1
    row_bytes, rows = (20 * bits * samples + 7) // 8, [8, 8, 5]
    if layout == "tiles":
        row_bytes, rows = 16 * bits * samples // 8, [16] * 4
    sizes = [row_bytes * each for each in rows] * (3 if planes == 2 else 1)
    count = len(sizes)
    head = {256: (20,), 257: (21,), 258: (bits,) * 3, 259: (DEFLATE,), 262: (2,), 277: (3,), 284: (planes,)}
    places = {273: (8,) * count, 278: (8,), 279: (1,) * count}
    if layout == "tiles":
        places = {322: (16,), 323: (16,), 324: (8,) * count, 325: (1,) * count}
    assert [piece[2] for piece in read_tiff_header(directory({**head, **places}, 0)).deflated] == sizes


def test_further_pages_are_counted_by_their_kind_alone():
    """Thousands may name the same millions of values, which took minutes; here those are not in the file."""
    data = bytearray(directory({254: (0,), 256: (1,), 257: (1,), 273: (0,) * 3}, 999))
    second = 20 + 2 + 4 * 12 + 4
    data[second:] = data[second:].replace(struct.pack("<HHII", 273, 4, 3, 8), struct.pack("<HHII", 273, 4, 1 << 30, 8))
    assert read_tiff_header(bytes(data)).pages == 1000


def directory(tags, more_pages):
    """The bytes of a TIFF without pixels: a page of these tags, and others with the same values."""
    values_at, values, entries = 8, b"", b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        entries += struct.pack("<HHI", tag, 4, len(numbers))
        entries += packed if len(numbers) == 1 else struct.pack("<I", values_at + len(values))
        values += packed if len(numbers) > 1 else b""
    at, pages = values_at + len(values), b""
    for left in range(more_pages, -1, -1):
        at += 2 + len(entries) + 4
        pages += struct.pack("<H", len(tags)) + entries + struct.pack("<I", at if left else 0)
    return b"II*\0" + struct.pack("<I", values_at + len(values)) + values + pages
