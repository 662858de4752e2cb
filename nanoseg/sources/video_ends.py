"""Whether a file's end is missing: it is shorter than its container says, ends within a packet, or was not read."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18\x53\x80\x67"

_INDEX_BYTES, _INDEX_SHARE = 4096, 0.05


def ends_early(file: BinaryIO, packets_end: int) -> bool:
    """Return whether the end of a file is missing or cannot be read; False where its container does not say.

    Args:
        file: the file.
        packets_end: where the last packet that was read ends.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    begin = file.read(64)
    if begin.startswith(b"RIFF"):
        return _riff(file, size)
    if begin.startswith(_EBML):
        return _matroska(begin, size) or _unread(packets_end, size)
    if begin.startswith(b"GIF8"):
        file.seek(max(0, size - 64))
        return not file.read().rstrip(b"\0").endswith(b";") or _unread(packets_end, size)
    if begin[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _boxes(file, size)
    return _cut_packet(file, size)


def _unread(packets_end: int, size: int) -> bool:
    """Return whether more is behind the last packet than an index and tags, where packets come one after the other."""
    return size - packets_end > max(_INDEX_BYTES, size * _INDEX_SHARE)


def _cut_packet(file: BinaryIO, size: int) -> bool:
    """Return whether a transport stream ends within one of its packets."""
    for first, length in ((0, 188), (4, 192)):
        syncs = [(file.seek(at), file.read(1))[1] for at in range(first, first + 4 * length, length)]
        if syncs == [b"G"] * 4:
            return size % length != 0
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
