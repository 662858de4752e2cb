"""The directory of a zip archive, judged before anything is unpacked: .npz files and checkpoints are zip archives."""

from __future__ import annotations

import os
import struct
import zipfile
from contextlib import suppress
from typing import BinaryIO

from nanoseg.utils.read_file import format_bytes

_MAX_DIRECTORY_BYTES = 16_000_000  # of 200,000 entries; a checkpoint has some hundred
_TAIL = 1 << 17  # where the end record is: behind it is at most a comment of 64 kB
_END, _END_64 = b"PK\5\6", b"PK\6\6"
_UNKNOWN = 0xFFFFFFFF  # the size is in the end record of 64 bits alone


class TooLargeError(ValueError):
    """An archive would unpack to more than the limit."""


def read_directory(file: BinaryIO, limit: int) -> list[zipfile.ZipInfo]:
    """Return the entries of a zip archive; nothing is unpacked.

    zipfile unpacks no more of an entry than its size here says, so that these sizes cannot lie.

    Args:
        file: the archive.
        limit: how many bytes its entries may have together.

    Raises:
        TooLargeError: the entries are larger, or too many; the message follows the file's name and a colon.
        zipfile.BadZipFile: it is no zip archive, or a damaged one.
    """
    size = _directory_bytes(file)
    if size > _MAX_DIRECTORY_BYTES:
        wanted = format_bytes(_MAX_DIRECTORY_BYTES)
        raise TooLargeError(f"its list of content has {format_bytes(size)}; wanted at most {wanted}")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    # A damaged directory: numbers out of range, names that are no text, versions of zip that do not exist.
    except (OSError, ValueError, NotImplementedError, struct.error) as cause:
        raise zipfile.BadZipFile(str(cause)) from cause
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limit:
        raise TooLargeError(f"unpacks to {format_bytes(unpacked)}; wanted at most {format_bytes(limit)}")
    return entries


def _directory_bytes(file: BinaryIO) -> int:
    """Return the size of the directory as its end records say; 0 where there is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    file.seek(0)
    found = 0
    for mark, number, offset in ((_END, "<L", 12), (_END_64, "<Q", 40)):
        with suppress(ValueError, struct.error):
            value = struct.unpack_from(number, tail, tail.rindex(mark) + offset)[0]
            found = max(found, 0 if value == _UNKNOWN else value)
    return found
