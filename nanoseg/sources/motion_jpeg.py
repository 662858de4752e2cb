"""Raw motion JPEG: JPEG pictures one behind the other, as cameras write them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.utils.read_file import open_file

_MAX_PICTURE_BYTES = 1 << 26
_SOI, _EOI, _SOS, _APP2 = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xE2
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive


def is_motion_jpeg(path: Path) -> bool:
    """Return whether a file is a JPEG picture with another behind it; raises SourceError if it cannot be read.

    A photograph with a second one for depth, gain or another eye is none: its header lists them.
    """
    with open_file(path, SourceError) as file:
        if file.read(2) != _SOI:
            return False
        file.seek(0)
        data = file.read(_MAX_PICTURE_BYTES)
    return _second_picture(data) is not None


def holds_two_fields(data: bytes, height: int) -> bool:
    """Return whether a packet of motion JPEG is two pictures of half a frame's height, one for each field."""
    return data.startswith(_SOI) and 2 * _height(data) == height and _second_picture(data) is not None


def _second_picture(data: bytes) -> int | None:
    """Return where the picture behind the first one begins; None where there is none, or the header lists it."""
    for marker, at, length in _segments(data):
        if marker == _APP2 and data[at + 4 : at + 8] == b"MPF\0":
            return None
        if marker == _SOS:  # what follows has no marker but restarts until the end of the picture
            end = data.find(_EOI, at + length)
            begin = len(data) - len(data[end + 2 :].lstrip(b"\0"))
            return begin if end >= 0 and data.startswith(_SOI, begin) else None
    return None


def _height(data: bytes) -> int:
    for marker, at, _ in _segments(data):
        if marker in _FRAMES:
            return int.from_bytes(data[at + 5 : at + 7], "big")
    return 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, position and length without the marker of each segment up to the first scan."""
    at, marker = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and marker != _SOS:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at, length
        at += 2 + length
