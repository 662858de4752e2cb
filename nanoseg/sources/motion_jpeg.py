"""Raw motion JPEG: JPEG pictures one behind the other, as cameras write them."""

from __future__ import annotations

import struct
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.utils.read_file import open_file

_MAX_PICTURE_BYTES = 1 << 26
_SOI, _EOI, _SOS, _APP2 = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xE2


def is_motion_jpeg(path: Path) -> bool:
    """Return whether a file is a JPEG picture with another behind it; raises SourceError if it cannot be read.

    A photograph with a second one for depth, gain or another eye is none: its header lists them.
    """
    with open_file(path, SourceError) as file:
        if file.read(2) != _SOI:
            return False
        file.seek(0)
        data = file.read(_MAX_PICTURE_BYTES)
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == _APP2 and data[at + 4 : at + 8] == b"MPF\0":
            return False
        at += 2 + length
        if marker == _SOS:  # what follows has no marker but restarts until the end of the picture
            end = data.find(_EOI, at)
            return end >= 0 and data[end + 2 :].lstrip(b"\0").startswith(_SOI)
    return False
