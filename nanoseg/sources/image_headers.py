"""Headers of image files, read before decoding, so that no enormous or truncated image is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from nanoseg.sources.tiff_header import read_tiff_header

# Start-of-frame markers: C0 - CF without DHT (C4), JPG (C8) and DAC (CC), ITU-T T.81 table B.1.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_ZEROS = bytes(64)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # their sizes in bytes
_PNM = re.compile(rb"P([1-6])\s(?:\s|#[^\n]*\n)*(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:(?:\s|#[^\n]*\n)+(\d+))?")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})


@dataclass(frozen=True)
class ImageHeader:
    """Format and size of an image, and whether its file is complete."""

    format: str  # "PNG", "JPEG", "BMP", "WebP", "TIFF", "GIF" or "PNM"
    size_wh: tuple[int, int]  # pixels, before EXIF rotation
    complete: bool  # False where the end is missing
    frames: int = 1  # pages of a TIFF, pictures of an animation
    premultiplied: bool = False  # colours were multiplied with alpha
    straight_alpha_at: tuple[int, int] | None = None  # see TiffHeader
    white: int | None = None  # the sample that is white, where the decoder takes another for it
    deflated: tuple[tuple[int, int, int], ...] = ()  # see TiffHeader
    scan_at: int = 0  # of a JPEG: where the coded pixels begin
    damage: str = ""  # what shows that pixels were lost, though its decoder may not notice


def image_format(head: bytes) -> str | None:
    """Return the format of an image file by its first bytes, "HEIC" and "AVIF" too; None for another kind of file."""
    if head[4:8] == b"ftyp":
        (length,) = struct.unpack_from(">I", head)
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))}
        major_avif = head[8:12] in _AVIF_BRANDS or (head[8:12] in (b"mif1", b"msf1") and brands & _AVIF_BRANDS)
        return "AVIF" if major_avif else "HEIC" if head[8:12] in _HEIC_BRANDS else None
    for magic, name, _ in _FORMATS:
        if head.startswith(magic):
            if name == "WebP" and head[8:12] != b"WEBP":
                return None
            if name == "BMP" and int.from_bytes(head[14:18], "little") not in _BMP_HEADERS:
                return None
            return name
    return "PNM" if _PNM.match(head) else None


def read_header(data: bytes) -> ImageHeader | None:
    """Return the header of an image file, or None for another kind of file; for HEIC and AVIF see nanoseg.sources.heif.

    Args:
        data: the whole file.

    Raises:
        ValueError: the file ends inside its header, contradicts itself or is of a kind that is not read.
    """
    name = image_format(data)
    if name is None or name in ("HEIC", "AVIF"):
        return None
    read = next((each for _, known, each in _FORMATS if known == name), _pnm)
    try:
        header = read(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{name} header cut short at {len(data)} bytes; copy it again") from error
    if 0 in header.size_wh:
        raise ValueError(f"{name} file of {header.size_wh[0]} x {header.size_wh[1]} pixels; it is damaged")
    return header


def _png(data: bytes) -> ImageHeader:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if (length, kind) != (13, b"IHDR"):
        raise ValueError("PNG file that does not begin with its size; it is damaged")
    at, frames, complete = 8, 1, False
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():  # also zeros, of which a sparse file has billions
            raise ValueError(f"PNG file with a chunk of kind {kind!r}; it is damaged")
        if kind == b"acTL":
            frames = max(1, struct.unpack_from(">I", data, at + 8)[0])
        at += 12 + length
        if kind == b"IEND":
            complete = at <= len(data)
            break
    return ImageHeader("PNG", (width, height), complete, frames)


def _jpeg(data: bytes) -> ImageHeader:
    at = 2
    size_wh: tuple[int, int] | None = None
    baseline, zeros_mean_nothing = False, False
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
            if size_wh is not None:
                raise ValueError("JPEG file that gives its size twice; it is damaged")
            height, width = struct.unpack_from(">HH", data, at + 3)
            size_wh, baseline = (width, height), marker <= 0xC1
        if marker == 0xC4:
            zeros_mean_nothing |= _has_ac_table_of_coefficients(data[at + 2 : at + length])
        at += length
        if marker == 0xDA:
            if size_wh is None:
                raise IndexError("a scan before its frame")
            # Searched from here: a thumbnail inside an EXIF segment has an end marker too.
            end = data.find(b"\xff\xd9", at)
            # Some cameras fill up their files with zeros.
            damaged = baseline and zeros_mean_nothing and _ZEROS in data[at : max(at, end)].rstrip(b"\0")
            damage = "zeros in place of pixels" if damaged else ""
            return ImageHeader("JPEG", size_wh, end >= 0, scan_at=at, damage=damage)


def _has_ac_table_of_coefficients(tables: bytes) -> bool:
    """Return whether the code of only zero bits, in the first table for AC, is another than the end of a block.

    If it is that end, zeros stand for flat colour. Else nothing that is photographed or drawn has more than a few.
    """
    at = 0
    while at + 17 <= len(tables):
        if tables[at] == 0x10 and at + 17 < len(tables):
            return tables[at + 17] != 0
        at += 17 + sum(tables[at + 1 : at + 17])
    return False


def _bmp(data: bytes) -> ImageHeader:
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
    return ImageHeader("BMP", (width, height), compressed or len(data) >= pixels_at + row_bytes * height)


def _webp(data: bytes) -> ImageHeader:
    riff_bytes, kind = struct.unpack_from("<I4x4s", data, 4)
    complete = len(data) >= riff_bytes + 8
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        if len(data) < 30:
            raise IndexError("VP8X")
        frames = _webp_frames(data) if data[20] & 2 else 1
        return ImageHeader("WebP", (width, height), complete, frames)
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return ImageHeader("WebP", ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1), complete)
    if kind != b"VP8 ":
        raise ValueError(f"WebP file that begins with {kind!r}; it is damaged")
    width, height = struct.unpack_from("<HH", data, 26)
    return ImageHeader("WebP", (width & 0x3FFF, height & 0x3FFF), complete)


def _webp_frames(data: bytes) -> int:
    at, frames = 12, 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if not kind.strip(b" ").isalnum():
            break
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    return max(1, frames)


def _gif(data: bytes) -> ImageHeader:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _gif_palette_bytes(flags), 0
    while at < len(data) and data[at] != 0x3B:  # its end
        if data[at] == 0x2C:  # a picture
            frames += 1
            if at + 10 > len(data):
                break
            at += 10 + _gif_palette_bytes(data[at + 9]) + 1
        elif data[at] == 0x21:  # an extension
            at += 2
        else:
            return ImageHeader("GIF", (width, height), False, max(1, frames))
        while at < len(data) and data[at]:  # blocks of data, each after its length
            at += 1 + data[at]
        at += 1
    return ImageHeader("GIF", (width, height), at < len(data), max(1, frames))


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: bytes) -> ImageHeader:
    tiff = read_tiff_header(data)
    return ImageHeader(
        "TIFF",
        tiff.size_wh,
        tiff.complete,
        tiff.pages,
        tiff.premultiplied,
        tiff.straight_alpha_at,
        deflated=tiff.deflated,
    )


def _pnm(data: bytes) -> ImageHeader:
    match = _PNM.match(data)
    if match is None:
        raise IndexError("PNM")
    kind, width, height, top = (int(each or 0) for each in match.groups())
    plain_bits = kind in (1, 4)
    if not plain_bits and match[4] is None:
        raise IndexError("PNM")
    raw_bytes = {4: -(-width // 8), 5: width, 6: 3 * width}.get(kind, 0) * height * (2 if kind > 4 and top > 255 else 1)
    complete = len(data) >= match.end(3 if plain_bits else 4) + 1 + raw_bytes
    # OpenCV scales samples that are written as digits and of eight bits alone: 12 bits would be almost black.
    scaled = plain_bits or top in (255, 65535) or (kind < 4 and top < 255)
    return ImageHeader("PNM", (width, height), complete, white=None if scaled else top)


_Reader = Callable[[bytes], ImageHeader]
_FORMATS: tuple[tuple[bytes, str, _Reader], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG", _png),
    (b"\xff\xd8", "JPEG", _jpeg),
    (b"BM", "BMP", _bmp),
    (b"RIFF", "WebP", _webp),
    (b"II*\x00", "TIFF", _tiff),
    (b"MM\x00*", "TIFF", _tiff),
    (b"II+\x00", "TIFF", _tiff),
    (b"MM\x00+", "TIFF", _tiff),
    (b"GIF87a", "GIF", _gif),
    (b"GIF89a", "GIF", _gif),
)
