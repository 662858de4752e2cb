"""The modes of a V4L2 device, asked of the kernel; `v4l2-ctl --list-formats-ext` prints the same."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

# linux/videodev2.h: numbers hold the size of their structure.
ENUM_FMT, FORMAT = 0xC0405602, struct.Struct("=3I32s2I3I")  # index, type, flags, description, fourcc, ...
ENUM_SIZES, SIZE = 0xC02C564A, struct.Struct("=3I6I2I")  # index, fourcc, type, then width and height, or six bounds
ENUM_RATES, RATE = (
    0xC034564B,
    struct.Struct("=5I6I2I"),
)  # index, fourcc, width, height, type, then one to three fractions
_VIDEO_CAPTURE, _DISCRETE = 1, 1
_MOST = 200  # entries of one list, of a driver that does not end it
Ioctl = Callable[[int, int, bytearray], int]


@dataclass(frozen=True)
class Mode:
    """One size in one format."""

    format: str  # MJPG, YUYV, NV12
    width: int
    height: int
    fps: tuple[float, ...]  # frames a second, the highest first; of a range its ends


def read_modes(path: Path, ioctl: Ioctl = fcntl.ioctl) -> tuple[Mode, ...]:
    """Return the modes of a device, none where it cannot be opened or is none that captures."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    modes = []
    try:
        for entry in _entries(descriptor, ENUM_FMT, FORMAT, (_VIDEO_CAPTURE,), ioctl):
            fourcc: int = entry[4]
            for size in _entries(descriptor, ENUM_SIZES, SIZE, (fourcc,), ioctl):
                # Of a range of sizes the largest: width is the second bound of six, height the fifth.
                width, height = (size[3], size[4]) if size[2] == _DISCRETE else (size[4], size[7])
                rates = _rates(descriptor, fourcc, width, height, ioctl)
                name = fourcc.to_bytes(4, "little").decode("latin-1").strip("\0 ")
                modes.append(Mode(name, width, height, rates))
    except OSError:  # a device that was pulled out
        pass
    finally:
        os.close(descriptor)
    return tuple(modes)


def _rates(descriptor: int, fourcc: int, width: int, height: int, ioctl: Ioctl) -> tuple[float, ...]:
    found = set()
    for entry in _entries(descriptor, ENUM_RATES, RATE, (fourcc, width, height), ioctl):
        pairs = [entry[5:7]] if entry[4] == _DISCRETE else [entry[5:7], entry[7:9]]
        for seconds, parts in pairs:
            with suppress(ZeroDivisionError):
                found.add(round(float(1 / Fraction(seconds, parts)), 2))
    return tuple(sorted(found, reverse=True))


def _entries(
    descriptor: int, number: int, form: struct.Struct, wanted: tuple[int, ...], ioctl: Ioctl
) -> Iterator[tuple[int, ...]]:
    """Yield the entries of one of the kernel's lists.

    Raises:
        OSError: the device fails otherwise than at the list's end.
    """
    for index in range(_MOST):
        entry = bytearray(form.size)
        struct.pack_into(f"={1 + len(wanted)}I", entry, 0, index, *wanted)
        try:
            ioctl(descriptor, number, entry)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):  # the end, or a device without such a list
                return
            raise
        yield form.unpack(entry)
