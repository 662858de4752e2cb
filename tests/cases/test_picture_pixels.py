"""Pictures whose size, pixels or number is not what it seems: the right pixels, or one line before any are made."""

import io
import struct
import zlib

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.images import read_image
from tests.helpers.tiff_files import HEIGHT, LONG, LONG8, SHORT, WIDTH, tiff
from tests.sources.encoded_images import encoded, ramp

cv2 = pytest.importorskip("cv2")

LIMIT = 10_000
SMALL = np.zeros((20, 30, 3), np.uint8)
HUGE = 60_000


def chunk(kind, content):
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def ihdr(width, height):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def jpeg_with_sizes(*sizes_hw):
    jpeg = encoded(".jpg")
    at = jpeg.index(b"\xff\xc0")
    frame = jpeg[at : at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]]
    frames = b"".join(frame[:5] + struct.pack(">HH", *size) + frame[9:] for size in sizes_hw)
    return jpeg[:at] + frames + jpeg[at + len(frame) :]


def webp(kind, content):
    body = b"WEBP" + kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


TOO_LARGE = f"{HUGE} x {HUGE} pixels are more than the limit"
BOMBS = {
    "TIFF with two widths, the second small": (tiff(SMALL, more=[(WIDTH, LONG, [HUGE])]), "gives its width twice"),
    "TIFF with two heights": (tiff(SMALL, order=">", more=[(HEIGHT, SHORT, [HUGE])]), "gives its height twice"),
    "TIFF with LONG8": (tiff(SMALL, width=(LONG8, HUGE), height=(LONG8, HUGE)), TOO_LARGE),
    "BigTIFF": (tiff(SMALL, big=True, width=(LONG8, HUGE), height=(LONG, HUGE)), TOO_LARGE),
    "BigTIFF, big-endian": (tiff(SMALL, big=True, order=">", width=(SHORT, HUGE), height=(LONG8, HUGE)), TOO_LARGE),
    "TIFF with two values for its width": (tiff(SMALL, more=[(HEIGHT, LONG, [1, 2])]), "twice|2 values"),
    "TIFF with huge tiles": (tiff(SMALL, more=[(322, LONG, [HUGE]), (323, LONG, [HUGE])]), "tiles of 60000 x 60000"),
    "TIFF with hundreds of samples": (tiff(np.zeros((9, 9, 200), np.uint8)), "TIFF with 200 samples a pixel"),
    "TIFF without a width": (
        tiff(SMALL).replace(struct.pack("<HH", 256, 4), struct.pack("<HH", 255, 4)),
        "without its",
    ),
    "PNG with two sizes": (png(ihdr(10, 10), ihdr(HUGE, HUGE)), "PNG file is damaged: IHDR"),
    "PNG with a text first": (png(chunk(b"tEXt", bytes(16)), ihdr(HUGE, HUGE)), "does not begin with its size"),
    "PNG": (png(ihdr(HUGE, HUGE)), TOO_LARGE),
    "JPEG with two sizes, the first huge": (jpeg_with_sizes((HUGE, HUGE), (8, 8)), "gives its size twice"),
    "JPEG with two sizes, the second huge": (jpeg_with_sizes((8, 8), (HUGE, HUGE)), "gives its size twice"),
    "JPEG": (jpeg_with_sizes((HUGE, HUGE)), TOO_LARGE),
    "JPEG without a height": (jpeg_with_sizes((0, 64)), "JPEG file of 64 x 0 pixels"),
    "WebP with another chunk first": (webp(b"JUNK", bytes(20)), "begins with b'JUNK'"),
    "WebP": (webp(b"VP8X", bytes(4) + b"\xff\xff\x00" * 2), "65536 x 65536 pixels are more"),
    "GIF": (b"GIF89a" + struct.pack("<HHBBB", HUGE, HUGE, 0, 0, 0) + b";", TOO_LARGE),
    "PGM": (b"P5 # made by hand\n60000 60000\n255\n" + bytes(99), TOO_LARGE),
    "BMP": (b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, HUGE, -HUGE, 1, 8, 1, 0, 0, 0, 0, 0), TOO_LARGE),
}


@pytest.mark.parametrize("name", BOMBS)
def test_picture_sizes_are_checked_before_pixels_are_made(tmp_path, capfd, name):
    data, message = BOMBS[name]
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(SourceError, match=message) as raised:
        read_image(tmp_path / "a", LIMIT)
    assert str(raised.value).startswith(f"{tmp_path / 'a'}: ")
    assert capfd.readouterr() == ("", "")


def test_picture_text_that_unpacks_to_gigabytes(tmp_path, capfd):
    text = zlib.compressobj(9)
    packed = b"".join([*(text.compress(bytes(1 << 20)) for _ in range(100)), text.flush()])
    data = encoded(".png")
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"zTXt", b"a\0\0" + packed) + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", LIMIT), ramp())
    assert capfd.readouterr() == ("", "")


COLOUR = np.full((20, 30, 3), (200, 120, 60), np.uint8)  # RGB
GREY = np.full((20, 30), 200, np.uint8)


def with_alpha(image, alpha):
    return np.dstack([image, np.full(image.shape[:2], alpha, image.dtype)])


def wide(image):
    return image.astype(np.uint16) * 257


RGB, BLACK = [200, 120, 60], [0, 0, 0]
TIFFS = {
    "RGB": (tiff(COLOUR), RGB),
    "RGB, big-endian": (tiff(COLOUR, order=">"), RGB),
    "BigTIFF": (tiff(COLOUR, big=True), RGB),
    "BigTIFF, big-endian": (tiff(COLOUR, big=True, order=">"), RGB),
    "BigTIFF with LONG8 sizes": (tiff(COLOUR, big=True, width=(LONG8, 30), height=(LONG8, 20)), RGB),
    "planes": (tiff(COLOUR, planar=2), RGB),
    "straight alpha": (tiff(with_alpha(COLOUR, 128), extra=2), RGB),
    "straight alpha of 0": (tiff(with_alpha(COLOUR, 0), extra=2), RGB),
    "straight alpha, big-endian": (tiff(with_alpha(COLOUR, 9), extra=2, order=">"), RGB),
    "straight alpha, big-endian LONG": (tiff(with_alpha(COLOUR, 9), more=[(338, LONG, [2])], order=">"), RGB),
    "straight alpha, BigTIFF": (tiff(with_alpha(COLOUR, 9), extra=2, big=True), RGB),
    "straight alpha, planes": (tiff(with_alpha(COLOUR, 9), extra=2, planar=2), RGB),
    "straight alpha, 16 bits": (tiff(with_alpha(wide(COLOUR), 32768), extra=2), RGB),
    "straight alpha, grey": (tiff(with_alpha(GREY, 9), extra=2, photometric=1), [200] * 3),
    "alpha of an unknown kind": (tiff(with_alpha(COLOUR, 128), extra=0), RGB),
    "alpha that is not told": (tiff(with_alpha(COLOUR, 128)), RGB),
    "premultiplied": (tiff(with_alpha(COLOUR // 2, 128), extra=1), [199, 120, 60]),
    "premultiplied, opaque": (tiff(with_alpha(COLOUR, 255), extra=1), RGB),
    "premultiplied, invisible": (tiff(with_alpha(COLOUR * 0, 0), extra=1), BLACK),
    "premultiplied, 16 bits": (tiff(with_alpha(wide(COLOUR) // 2, 65535 // 2), extra=1), RGB),
    "called premultiplied, but straight": (tiff(with_alpha(COLOUR, 128), extra=1), RGB),
    "16 bits": (tiff(wide(COLOUR)), RGB),
    "white is 0": (tiff(GREY, photometric=0), [55] * 3),
    "CMYK": (tiff(np.full((20, 30, 4), (0, 255, 255, 0), np.uint8), photometric=5), [255, 0, 0]),
}


@pytest.mark.parametrize("name", TIFFS)
def test_picture_tiff_colours(tmp_path, capfd, name):
    data, rgb = TIFFS[name]
    (tmp_path / "a.tif").write_bytes(data)
    read = read_image(tmp_path / "a.tif", LIMIT)
    assert read.shape == (20, 30, 3)
    assert np.unique(read.reshape(-1, 3), axis=0).tolist() == [rgb[::-1]]
    assert capfd.readouterr() == ("", "")


REFUSED = {
    "float": (tiff(np.ones((9, 9), np.float32)), "samples of 32 bits"),
    "32 bits": (tiff(np.ones((9, 9), np.uint32)), "samples of 32 bits"),
    "signed": (tiff(np.ones((9, 9), np.int16)), "signed or no whole numbers"),
    "five bands": (tiff(np.ones((9, 9, 5), np.uint8)), "5 samples a pixel"),
    "preview first": (tiff(SMALL, subfile=1), "begins with a preview"),
    "DNG": (tiff(SMALL, more=[(50706, 1, [1, 4, 0, 0])]), r"raw photograph \(DNG\)"),
    "cut short": (tiff(SMALL)[:-1], "the TIFF file is cut short"),
    "cut short, planes": (tiff(SMALL, planar=2, order=">")[:-700], "the TIFF file is cut short"),
    "TIFF with thousands of tags": (b"II*\0\x08\0\0\0" + b"\xff" * 99, "TIFF with 65535 tags on a page"),
    "PNG of zeros": (png(ihdr(9, 9))[:33] + bytes(99), "PNG file with a chunk of kind .* it is damaged"),
    "GIF of zeros": (b"GIF89a\x09\0\x09\0\0\0\0" + bytes(99), "the GIF file is cut short"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "got a JPEG 2000 picture"),
    "JPEG XL": (b"\xff\x0a" + bytes(99), "got a JPEG XL picture"),
    "SVG": (b'<?xml version="1.0"?>\n<svg width="9"/>', "got an SVG drawing"),
    "HTML": (b"<!DOCTYPE html><title>Not found</title>", "got a web page"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "got a Git LFS pointer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_picture_kinds_that_are_told(tmp_path, capfd, name):
    data, message = REFUSED[name]
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_image(tmp_path / "a.tif", LIMIT)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_orientation_of_every_format(tmp_path, kind, orientation):
    image = pytest.importorskip("PIL.Image")
    corner = np.zeros((40, 64, 3), np.uint8)
    corner[:8, :8] = 255
    exif = image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    image.fromarray(corner).save(buffer, kind, exif=exif)
    (tmp_path / "a").write_bytes(buffer.getvalue())
    read = read_image(tmp_path / "a", LIMIT)
    assert read.shape[:2] == ((40, 64) if orientation < 5 else (64, 40))
    bright = [(y, x) for y in (0, -1) for x in (0, -1) if read[y, x].min() > 200]
    places = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert bright == [places[orientation]]


@pytest.mark.parametrize("white", [1, 15, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_picture_pnm_white_is_white(tmp_path, kind, white):
    samples = np.repeat([0, white // 2, white], 3 if kind in ("P3", "P6") else 1)
    digits = " ".join(map(str, samples)).encode()
    binary = samples.astype(">u2" if white > 255 else "u1").tobytes()
    path = tmp_path / "a.pnm"
    path.write_bytes(f"{kind}\n3 1\n{white}\n".encode() + (digits + b"\n" if kind in ("P2", "P3") else binary))
    read = read_image(path, LIMIT)
    np.testing.assert_allclose(read[0, :, 1], [0, 255 * (white // 2) / white, 255], atol=1)
