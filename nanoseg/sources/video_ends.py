"""Whether a file is shorter than its container says: MP4 and MOV, AVI, Matroska and WebM say so in their headers."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18\x53\x80\x67"


def ends_early(file: BinaryIO) -> bool:
    """Return whether the end of a file is missing; False where its container does not say."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    begin = file.read(64)
    if begin.startswith(b"RIFF"):
        return _riff(file, size)
    if begin.startswith(_EBML):
        return _matroska(begin, size)
    if begin[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _boxes(file, size)
    return False


def _riff(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or length in (0, 0xFFFFFFFF):  # written to a pipe, or something behind the video
            return False
        at += 8 + length + length % 2
    return at > size + 1


def _boxes(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, kind = struct.unpack_from(">I4s", header)
        if not kind.isalnum() or length == 0:  # something behind the video, or a box up to the end
            return False
        if length == 1:
            if len(header) < 16:
                return True
            (length,) = struct.unpack_from(">Q", header, 8)
        if length < 8:
            return False
        at += length
    return at > size


def _matroska(begin: bytes, size: int) -> bool:
    header_bytes, at = _vint(begin, 4)
    at += header_bytes or 0
    if begin[at : at + 4] != _SEGMENT or header_bytes is None:
        return False
    segment_bytes, at = _vint(begin, at + 4)
    return segment_bytes is not None and at + segment_bytes > size


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """Return an EBML number, None where it is unknown, and what lies behind it."""
    if at >= len(data) or not data[at]:
        return None, at
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length
