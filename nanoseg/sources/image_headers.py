"""Headers of image files, read before decoding, so that no enormous or truncated image is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

# Start-of-frame markers: C0 - CF without DHT (C4), JPG (C8) and DAC (CC), ITU-T T.81 table B.1.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


@dataclass(frozen=True)
class ImageHeader:
    """Format and size of an image, and whether its file is complete."""

    format: str  # "PNG", "JPEG", "BMP", "WebP" or "TIFF"
    size_wh: tuple[int, int]  # pixels, before EXIF rotation
    complete: bool  # False where the end is missing; TIFF files are assumed to be complete


def read_header(data: bytes) -> ImageHeader | None:
    """Return the header of an image file, or None for another kind of file.

    Args:
        data: the whole file.

    Raises:
        ValueError: the file ends inside its header.
    """
    for magic, name, read in _FORMATS:
        if data.startswith(magic) and (name != "WebP" or data[8:12] == b"WEBP"):
            try:
                size_wh, complete = read(data)
            except (struct.error, IndexError) as error:
                raise ValueError(f"{name} header cut short") from error
            return ImageHeader(name, size_wh, complete)
    return None


def _png(data: bytes) -> tuple[tuple[int, int], bool]:
    width, height = struct.unpack_from(">II", data, 16)
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND":
            return (width, height), at <= len(data)
    return (width, height), False


def _jpeg(data: bytes) -> tuple[tuple[int, int], bool]:
    at = 2
    size_wh: tuple[int, int] | None = None
    while True:
        if data[at] != 0xFF:
            raise IndexError("a marker was expected")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2
        if marker in _JPEG_STANDALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            size_wh = (width, height)
        at += length
        if marker == 0xDA:
            if size_wh is None:
                raise IndexError("a scan before its frame")
            # Searched from here: a thumbnail inside an EXIF segment has an end marker too.
            return size_wh, data.find(b"\xff\xd9", at) >= 0


def _bmp(data: bytes) -> tuple[tuple[int, int], bool]:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        bits, compression = struct.unpack_from("<H", data, 24)[0], 0
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        bits, compression = struct.unpack_from("<HI", data, 28)
    width, height = abs(width), abs(height)  # a negative height means rows from the top
    (pixels_at,) = struct.unpack_from("<I", data, 10)
    row_bytes = (width * bits + 31) // 32 * 4
    compressed = compression not in (0, 3)  # run lengths: the header does not have the size
    return (width, height), compressed or len(data) >= pixels_at + row_bytes * height


def _webp(data: bytes) -> tuple[tuple[int, int], bool]:
    riff_bytes, kind = struct.unpack_from("<I4x4s", data, 4)
    complete = len(data) >= riff_bytes + 8
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        if len(data) < 30:
            raise IndexError("VP8X")
        return (width + 1, height + 1), complete
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1), complete
    width, height = struct.unpack_from("<HH", data, 26)
    return (width & 0x3FFF, height & 0x3FFF), complete


def _tiff(data: bytes) -> tuple[tuple[int, int], bool]:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, at)
    sizes = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
    for i in range(entries):
        tag, kind, _, long = struct.unpack_from(order + "HHII", data, at + 2 + 12 * i)
        if tag in sizes:
            sizes[tag] = struct.unpack_from(order + "H", data, at + 10 + 12 * i)[0] if kind == 3 else long
    return (sizes[_TIFF_WIDTH], sizes[_TIFF_HEIGHT]), True


_Reader = Callable[[bytes], tuple[tuple[int, int], bool]]
_FORMATS: tuple[tuple[bytes, str, _Reader], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG", _png),
    (b"\xff\xd8", "JPEG", _jpeg),
    (b"BM", "BMP", _bmp),
    (b"RIFF", "WebP", _webp),
    (b"II*\x00", "TIFF", _tiff),
    (b"MM\x00*", "TIFF", _tiff),
)
