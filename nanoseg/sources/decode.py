"""Decode images with OpenCV to eight bits BGR without alpha, and judge what its libraries say about damage."""

from __future__ import annotations

import re

import numpy as np

from nanoseg.errors import needs
from nanoseg.sources.decoder_messages import catch_decoder_messages
from nanoseg.sources.deflated import find_deflate_damage
from nanoseg.sources.image_headers import ImageHeader
from nanoseg.sources.odd_jpeg import without_oddities

with needs("OpenCV", "opencv"):
    import cv2

_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_HARMLESS = re.compile(
    r"libpng warning|Warning: unknown JFIF|Unknown Adobe color|Application transferred|Invalid SOS param"
)
_MOST_BYTES = 8  # of a pixel: four samples of 16 bits
_READ_AHEAD = 64  # bytes, more than libjpeg holds behind the last pixel
_ROWS = 256  # at a time, to bound the memory of their float32


def decode_image(data: bytes, header: ImageHeader) -> tuple[np.ndarray, str | None]:
    """Decode an image whose header was read, turned by its EXIF orientation.

    Returns:
        (H, W, 3) uint8, BGR, and what makes its decoder doubt it, None for nothing.

    Raises:
        ValueError: it is damaged, or of a kind that OpenCV does not decode.
    """
    unknown = f"OpenCV {cv2.__version__} cannot decode the {header.format} file; it is damaged or of an unusual kind"
    pixels = np.frombuffer(data, np.uint8)
    if header.straight_alpha_at is not None:
        # libtiff would darken the colours by this alpha; told that it is of another kind, it leaves them.
        pixels = pixels.copy()
        pixels[slice(*header.straight_alpha_at)] = 0
    flags = cv2.IMREAD_UNCHANGED if header.premultiplied else cv2.IMREAD_COLOR
    if header.white is not None:
        flags |= cv2.IMREAD_ANYDEPTH
    width, height = header.size_wh
    if damage := find_deflate_damage(data, header.deflated, width * height * _MOST_BYTES):
        raise ValueError(f"the {header.format} file is damaged: {damage}; copy it again")
    image, messages = _decode(pixels, flags)
    if header.format == "JPEG" and any(_HARMLESS.match(line) for line in messages):
        # libjpeg tells its first warning alone: what it would have told next may be that pixels are lost.
        messages = _decode(np.frombuffer(without_oddities(data), np.uint8), flags)[1]
    doubt = None
    for line in messages:
        # Where a message means that pixels were made up, there is no picture.
        reason = line.removeprefix("libpng error: ").removeprefix("Corrupt JPEG data: ").strip()
        if extraneous := _EXTRANEOUS.match(line):
            if not _is_padding(data, header.scan_at, int(extraneous[1])):
                doubt = f"has {reason}; it may be damaged"
            continue
        if not _HARMLESS.match(line):
            raise ValueError(f"the {header.format} file is damaged: {reason}; copy it again")
    if image is None:
        raise ValueError(unknown)
    if header.premultiplied:
        image = _undo_premultiplication(image)
    if header.white is not None:
        image = cv2.convertScaleAbs(image, alpha=255 / header.white)
    return image, doubt


def _decode(pixels: np.ndarray, flags: int) -> tuple[np.ndarray | None, list[str]]:
    with catch_decoder_messages() as messages:
        try:
            image = cv2.imdecode(pixels, flags)
        except (cv2.error, MemoryError):
            image = None
    return image, messages.lines


def _is_padding(data: bytes, scan_at: int, count: int) -> bool:
    """Return whether the bytes that a JPEG's decoder skipped are one value, of which it took few for pixels."""
    end = data.find(b"\xff\xd9", scan_at)  # the first: a second picture may follow, as phones append them
    skipped = set(data[max(0, end - count) : end])
    return len(skipped) <= 1 and set(data[max(0, end - count - _READ_AHEAD) : end]) != skipped


def _undo_premultiplication(image: np.ndarray) -> np.ndarray:
    """Return the colours of BGRA pixels that were multiplied with alpha, where they were: none exceeds its alpha."""
    if image.ndim != 3 or image.shape[2] != 4:
        raise ValueError("the TIFF file has alpha that OpenCV does not decode")
    was_multiplied = bool((image[..., :3] <= image[..., 3:]).all())
    top = np.iinfo(image.dtype).max
    result = np.empty((*image.shape[:2], 3), np.uint8)
    for first in range(0, len(image), _ROWS):
        rows = image[first : first + _ROWS].astype(np.float32)
        colour, alpha = rows[..., :3], rows[..., 3:]
        if was_multiplied:
            colour = np.where(alpha > 0, colour * (top / np.maximum(alpha, 1)), 0)
        result[first : first + _ROWS] = np.round(colour * (255 / top))
    return result
