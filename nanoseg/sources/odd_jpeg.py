"""JPEG files that are whole but odd: libjpeg warns of that, and of nothing behind it, as it tells one warning."""

from __future__ import annotations

import struct

_SEQUENTIAL = (0xC0, 0xC1)


def without_oddities(data: bytes) -> bytes:
    """Return a JPEG file without what libjpeg warns of though it does no harm; its colours may differ.

    These are an unknown version of JFIF, an unknown transform of Adobe's, and a sequential scan's parameters, which a
    decoder has no use for. The file's header was read already.
    """
    plain, at, sequential = bytearray(data), 2, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # the coded pixels of a scan, up to the next marker
            if (at := data.find(b"\xff", at)) < 0:
                break
            continue
        marker = data[at + 1]
        if marker == 0xD9:
            break
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 4 : at + 9] in (b"JFIF\0", b"Adobe"):
            plain[at + 4] = ord("-")  # so that it is of nobody that libjpeg knows
        sequential = sequential or marker in _SEQUENTIAL
        if marker == 0xDA and sequential:
            end = at + 2 + length
            plain[end - 3 : end] = b"\x00\x3f\x00"
        at += 2 + length
    return bytes(plain[: len(data)])
