"""A clock that is burnt into a picture and survives lossy coding, so that a frame tells its own true age.

Two rows of 32 blocks across the top, black for 0 and white for 1: 48 bits of milliseconds, and 16 of a check sum.
"""

from __future__ import annotations

import zlib

import numpy as np

COLUMNS, ROWS = 32, 2
_TIME_BITS, _CHECK_BITS = 48, 16
_SHIFTS = np.arange(COLUMNS * ROWS - 1, -1, -1, dtype=np.uint64)


def draw_clock(luma: np.ndarray, time_ms: int) -> None:
    """Draw a time into the top of a picture.

    Args:
        luma: (H, W) or (H, W, 3) uint8, changed in place; at least 4 pixels a block, 128 wide.
        time_ms: time.time_ns() // 1_000_000.
    """
    word = np.uint64(time_ms << _CHECK_BITS | _check(time_ms))
    bits = ((word >> _SHIFTS) & np.uint64(1)).astype(bool).reshape(ROWS, COLUMNS)
    side = luma.shape[1] // COLUMNS
    blocks = np.where(bits, 235, 16).astype(np.uint8).repeat(side, axis=0).repeat(side, axis=1)
    luma[: ROWS * side, : COLUMNS * side] = blocks if luma.ndim == 2 else blocks[..., None]


def read_clock(image: np.ndarray) -> int | None:
    """Return the milliseconds in a decoded picture of any colour format, None where they cannot be read.

    Args:
        image: (H, W) or (H, W, 3) uint8.
    """
    side = image.shape[1] // COLUMNS
    if side < 4 or image.shape[0] < ROWS * side:
        return None
    top = image[: ROWS * side, : COLUMNS * side]
    grey = top if top.ndim == 2 else top.mean(axis=2)
    middle = slice(side // 4, side - side // 4)  # neighbours blur into the edges
    means = grey.reshape(ROWS, side, COLUMNS, side)[:, middle, :, middle].mean(axis=(1, 3))
    word = 0
    for bit in (means > 127).ravel():
        word = word << 1 | int(bit)
    time_ms, check = word >> _CHECK_BITS, word & ((1 << _CHECK_BITS) - 1)
    return time_ms if time_ms and check == _check(time_ms) else None


def _check(time_ms: int) -> int:
    return zlib.crc32(time_ms.to_bytes(_TIME_BITS // 8, "big")) & ((1 << _CHECK_BITS) - 1)
