"""Images from files: one, a folder of them, or all that a glob matches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nanoseg.errors import SourceError, needs, one_line, os_reason
from nanoseg.sources.image_headers import ImageHeader, read_header
from nanoseg.sources.source import OnError, Source
from nanoseg.types import Frame

with needs("OpenCV", "opencv"):
    import cv2

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# The largest file of an image: four channels of 16 bits, uncompressed, and metadata.
_BYTES_PER_PIXEL, _METADATA_BYTES = 8, 1 << 26


def read_image(path: str | Path, max_pixels: int) -> np.ndarray:
    """Read a PNG, JPEG, BMP, WebP or TIFF file, rotated by its EXIF orientation.

    Grey becomes three equal channels, 16 bits become 8, transparency is dropped.

    Args:
        path: the file.
        max_pixels: the largest image that is decoded.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        SourceError: the file is missing, empty, truncated, too large or not an image.
    """
    path = Path(path)
    data = _read(path, max_pixels)
    header = _header(path, data)
    if header is None:
        raise SourceError(f"{path}: wanted a PNG, JPEG, BMP, WebP or TIFF picture, got a file that begins {data[:8]!r}")
    width, height = header.size_wh
    if width * height > max_pixels:
        raise SourceError(
            f"{path}: {width} x {height} pixels are more than the limit of {max_pixels}; raise it with --max-pixels"
        )
    if not header.complete:
        raise SourceError(f"{path}: the {header.format} file is cut short at {len(data)} bytes; copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise SourceError(f"{path}: the {header.format} file cannot be decoded: {one_line(error)}") from error
    if image is None:
        raise SourceError(f"{path}: the {header.format} file cannot be decoded; it is damaged or of an unusual kind")
    return image


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        if path.is_dir():
            raise SourceError(f"{path}: wanted a picture, got a folder")
        if not path.exists():
            raise SourceError(f"{path}: no such file")
        if not path.is_file():
            raise SourceError(f"{path}: wanted a picture, got something that is not a regular file")
        size_bytes = path.stat().st_size
        if size_bytes > _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES:
            raise SourceError(
                f"{path}: {size_bytes} bytes are more than {max_pixels} pixels can take; raise it with --max-pixels"
            )
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {os_reason(error)}") from error
    if not data:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    return data


def _header(path: Path, data: bytes) -> ImageHeader | None:
    try:
        return read_header(data)
    except ValueError as error:
        raise SourceError(f"{path}: {error} at {len(data)} bytes; copy it again") from error


def is_image(path: Path) -> bool:
    """Return whether a file's content starts like an image; raises SourceError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return read_header(file.read(1 << 16)) is not None
    except ValueError:  # a header that is longer, or truncated: an image all the same
        return True
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {os_reason(error)}") from error


def list_images(folder: Path) -> list[Path]:
    """Return the images of a folder by name, without those of subfolders; raises SourceError where there are none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {os_reason(error)}") from error
    if not paths:
        raise SourceError(
            f"{folder}: no pictures in this folder ({' '.join(IMAGE_SUFFIXES)}); "
            f"for those of the folders inside it give '{folder}/**/*.jpg'"
        )
    return paths


def open_images(paths: Sequence[Path], max_pixels: int, on_error: OnError | None = None) -> Source:
    """Return a source of images; a frame's index is its position in `paths`.

    Args:
        paths: the files.
        max_pixels: the largest image that is decoded.
        on_error: called for each image that cannot be read and is left out; after the last one a SourceError is
            raised if there was no other. Without it the first error is raised.
    """
    return Source(_frames(paths, max_pixels, on_error), len(paths), None, tuple(paths))


def _frames(paths: Sequence[Path], max_pixels: int, on_error: OnError | None) -> Iterator[Frame]:
    count = 0
    for index, path in enumerate(paths):
        try:
            image = read_image(path, max_pixels)
        except SourceError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        count += 1
        # A name that is not UTF-8 could neither be written to results nor printed.
        name = os.fsencode(path).decode("utf-8", "replace")
        yield Frame(image, index, time.time_ns(), name)
    if not count:
        raise SourceError(f"{paths[0].parent}: none of {len(paths)} pictures could be read")
