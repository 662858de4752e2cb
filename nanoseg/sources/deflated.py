"""Damage of pixels that deflate has compressed, which end with a checksum: OpenCV drops what libtiff says of it.

What LZW and PackBits have compressed has none: a changed byte there gives other pixels, of which nothing can tell.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

_PIECE = 1 << 20  # bytes at a time


def find_deflate_damage(data: bytes, pieces: Iterable[tuple[int, int, int]], limit: int) -> str | None:
    """Return what is wrong with compressed pieces of a file, None for nothing.

    Args:
        data: the file.
        pieces: offset and size of each, and the size of its pixels, in bytes.
        limit: bytes of all pixels; what is far beyond them is not read.
    """
    view, left = memoryview(data), 2 * limit + _PIECE
    for at, size, wanted in pieces:
        inflate, rest, got = zlib.decompressobj(), bytes(view[at : at + size]), 0
        try:
            while rest and not inflate.eof and left > 0:
                count = len(inflate.decompress(rest, _PIECE))
                got, left = got + count, left - count
                rest = inflate.unconsumed_tail
        except zlib.error as error:
            return str(error).partition(": ")[2] or str(error)
        if left <= 0:
            return None
        if got < wanted:
            return f"{got} of {wanted} bytes of pixels"
    return None
