"""The JPEG pictures of MJPEG cameras: whole ones are decoded, those that are cut or damaged are not shown."""

from __future__ import annotations

import re

import numpy as np

from nanoseg.errors import needs
from nanoseg.sources.decoder_messages import catch_decoder_messages

with needs("OpenCV", "opencv"):
    import cv2

_START, _END = b"\xff\xd8", b"\xff\xd9"
# What cameras write into their headers, and padding before the end marker, changes no pixel.
_HARMLESS = re.compile(r"Warning: unknown JFIF|Unknown Adobe color|Application transferred|.*bytes before marker 0xd9")


def decode_jpeg(data: bytes) -> np.ndarray | None:
    """Return a whole JPEG picture, (H, W, 3) uint8 BGR, or None where it is cut, damaged or none.

    Cameras fill their buffers up with zeros behind the end, and may leave out the Huffman tables.
    """
    whole = data.rstrip(b"\0")
    if not (whole.startswith(_START) and whole.endswith(_END)):
        return None
    with catch_decoder_messages() as messages:
        try:
            image = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except (cv2.error, MemoryError):
            return None
    return None if any(not _HARMLESS.match(line) for line in messages.lines) else image


def encode_jpeg(image: np.ndarray) -> bytes:
    """Return a picture, (H, W, 3) uint8 BGR, as a camera sends it."""
    return cv2.imencode(".jpg", image)[1].tobytes()
