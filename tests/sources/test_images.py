"""Image files: what is read, and the message for each that is not."""

import itertools
import struct

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.image_headers import read_header
from nanoseg.sources.images import read_image
from tests.sources.encoded_images import LIMIT, encoded, huge_png, ramp

cv2 = pytest.importorskip("cv2")

LOSSLESS, LOSSY = (".bmp", ".png", ".tif", ".tiff"), (".jpeg", ".jpg", ".webp")


@pytest.mark.parametrize("suffix", LOSSLESS + LOSSY)
def test_images_of_every_format_are_read_as_bgr(tmp_path, suffix):
    path = tmp_path / f"größe{suffix.upper()}"
    path.write_bytes(encoded(suffix))
    read = read_image(path, LIMIT)
    assert read.dtype == np.uint8
    assert read.shape == (30, 40, 3)
    assert np.abs(read.astype(int) - ramp()).max() <= (0 if suffix in LOSSLESS else 12)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (ramp()[..., 0], np.repeat(ramp()[..., :1], 3, -1)),
        (ramp().astype(np.uint16) * 257, ramp()),
        (np.dstack([ramp(), np.full((30, 40), 9, np.uint8)]), ramp()),
    ],
    ids=["grey", "16 bits", "with alpha"],
)
def test_images_of_other_types_become_eight_bit_bgr(tmp_path, image, expected):
    (tmp_path / "a.png").write_bytes(encoded(".png", image))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", LIMIT), expected)


def with_exif_orientation(jpeg, orientation):
    tiff = b"MM\x00*\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def test_images_exif_orientation_is_applied(tmp_path):
    (tmp_path / "a.jpg").write_bytes(with_exif_orientation(encoded(".jpg"), 6))  # 6: rotate by 90 degrees clockwise
    read = read_image(tmp_path / "a.jpg", LIMIT)
    assert read.shape == (40, 30, 3)
    assert np.abs(read.astype(int) - cv2.rotate(ramp(), cv2.ROTATE_90_CLOCKWISE)).max() <= 12


HEADERS = {
    "PNG": encoded(".png"),
    "JPEG": encoded(".jpg"),
    "progressive JPEG": encoded(".jpg", None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "JPEG with EXIF": with_exif_orientation(encoded(".jpg"), 1),
    "BMP": encoded(".bmp"),
    "WebP": encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless WebP": encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 101),
    "TIFF": encoded(".tif"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_image_headers_agree_with_the_decoder(name):
    data = HEADERS[name]
    header = read_header(data)
    assert header.format in name
    assert header.size_wh == (40, 30)
    assert header.complete
    if header.format != "TIFF":
        assert not read_header(data[:-1]).complete or header.format == "PNG"
        assert not read_header(data[: len(data) * 2 // 3]).complete


def test_image_headers_of_rare_formats():
    # A BMP whose rows run from the top, and a WebP with the extended header: rarely written.
    bmp = bytearray(HEADERS["BMP"])
    struct.pack_into("<i", bmp, 22, -30)
    assert read_header(bytes(bmp)).size_wh == (40, 30)
    extended = b"VP8X" + struct.pack("<II", 10, 0) + (39).to_bytes(3, "little") + (29).to_bytes(3, "little")
    riff = b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended
    assert read_header(riff).size_wh == (40, 30)
    big_endian = b"MM\x00*" + struct.pack(">IH", 8, 2)
    big_endian += struct.pack(">HHIHH", 256, 3, 1, 40, 0) + struct.pack(">HHIII", 257, 4, 1, 30, 0)
    assert read_header(big_endian).size_wh == (40, 30)
    assert read_header(b"%PDF-1.7") is None
    assert read_header(b"RIFF\x00\x00\x00\x00AVI ") is None


@pytest.mark.parametrize("name", HEADERS)
def test_image_headers_of_any_prefix(name):
    data = HEADERS[name]
    for end in itertools.chain(range(60), range(60, len(data), 37)):
        try:
            header = read_header(data[:end])
        except ValueError as error:
            assert "header cut short" in str(error)  # noqa: PT017
        else:
            assert header is None or header.size_wh == (40, 30)


BAD = {
    "missing": (None, "cannot be read: No such file or directory"),
    "empty": (b"", "the file is empty"),
    "text": (
        b"hello, world",
        "wanted a PNG, .*, HEIC or AVIF picture, got a file that begins b'hello, w'",
    ),
    "cut PNG": (HEADERS["PNG"][:-20], "the PNG file is cut short at"),
    "cut JPEG": (HEADERS["JPEG"][:-20], "the JPEG file is cut short at"),
    "cut JPEG with EXIF": (HEADERS["JPEG with EXIF"][:-20], "the JPEG file is cut short at"),
    "cut WebP": (HEADERS["WebP"][:-20], "the WebP file is cut short at"),
    "cut BMP": (HEADERS["BMP"][:-20], "the BMP file is cut short at"),
    "cut TIFF": (HEADERS["TIFF"][:60], "TIFF header cut short at 60 bytes"),
    "cut header": (HEADERS["JPEG"][:30], "JPEG header cut short at 30 bytes"),
    "damaged": (HEADERS["PNG"][:8] + b"\x00" * 50, "PNG file that does not begin with its size; it is damaged"),
    "enormous": (huge_png(), "100000 x 100000 pixels are more than the limit of 1000000; raise it with --max-pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_images_that_cannot_be_read(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / "bad.jpg"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SourceError, match=message) as raised:
        read_image(path, LIMIT)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_images_max_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(".png"))
    assert read_image(tmp_path / "a.png", 1200).shape == (30, 40, 3)
    with pytest.raises(SourceError, match="40 x 30 pixels are more than the limit of 1199"):
        read_image(tmp_path / "a.png", 1199)


def test_images_file_too_large_to_be_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.write(HEADERS["PNG"])
        file.truncate(1 << 30)  # sparse: it occupies no disk space
    with pytest.raises(SourceError, match="1073741824 bytes are more than 1000000 pixels can take"):
        read_image(tmp_path / "a.png", LIMIT)
