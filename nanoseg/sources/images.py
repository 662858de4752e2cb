"""Images from files: one, or many that are read one after another."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nanoseg.errors import DependencyError, SourceError
from nanoseg.sources.decode import decode_image
from nanoseg.sources.heif import decode_heif
from nanoseg.sources.image_headers import image_format, read_header
from nanoseg.sources.source import OnError, Source, check_pixels
from nanoseg.types import Frame
from nanoseg.utils.foreign_files import foreign_kind
from nanoseg.utils.names import printable_path
from nanoseg.utils.read_file import open_file
from nanoseg.utils.terminal import plural

# The largest file of an image: four channels of 16 bits, uncompressed, and metadata.
_BYTES_PER_PIXEL, _METADATA_BYTES = 8, 1 << 26
_HEAD_BYTES = 4096  # looked at before the rest of a file is read
_LOG = logging.getLogger("nanoseg")

OnNote = Callable[[str, str], None]  # the kind of the note, the note


def read_image(path: str | Path, max_pixels: int, on_note: OnNote | None = None) -> np.ndarray:
    """Read a PNG, JPEG, BMP, WebP, TIFF, GIF, PNM, HEIC or AVIF file, turned by its EXIF orientation.

    Grey becomes three equal channels, 16 bits become 8, transparency is dropped. Of several pages or frames the first
    is read.

    Args:
        path: the file.
        max_pixels: the largest image that is decoded.
        on_note: called with what the user should know of an image that is read; without it that is logged.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        SourceError: the file is missing, empty, truncated, damaged, too large or not an image.
        DependencyError: the library that reads HEIC or AVIF is not installed.
    """
    path = Path(path)
    data = _read(path, max_pixels)
    return decode_picture(data, path, max_pixels, on_note or (lambda _, text: _LOG.warning("%s", text)))


def decode_picture(data: bytes, path: Path, max_pixels: int, note: OnNote) -> np.ndarray:
    """Decode the content of a file as `read_image` does; `path` is its name in messages, `note` takes what to know."""
    kind = _check_kind(data[:_HEAD_BYTES], path)
    if kind in ("HEIC", "AVIF"):
        image, frames = decode_heif(path, data, kind, max_pixels)
    else:
        image, frames = _read_with_opencv(path, data, max_pixels, note)
    if frames > 1:
        name = "pages" if kind == "TIFF" else "frames"
        note(name, f"{path}: has {frames} {name}, the first is read")
    return image


def _read_with_opencv(path: Path, data: bytes, max_pixels: int, note: OnNote) -> tuple[np.ndarray, int]:
    try:
        header = read_header(data)
        if header is None:
            raise ValueError("header cut short; copy it again")
        check_pixels(path, header.size_wh, max_pixels)
        if not header.complete:
            raise ValueError(f"the {header.format} file is cut short at {len(data)} bytes; copy it again")
        if header.damage:
            raise ValueError(f"the {header.format} file is damaged: it has {header.damage}; copy it again")
        image, doubt = decode_image(data, header)
    except ValueError as error:
        raise SourceError(f"{path}: {error}") from error
    if doubt:
        note("doubt", f"{path}: {doubt}")
    return image, header.frames


def _read(path: Path, max_pixels: int) -> bytes:
    """Return a file's content; of a file that is no image only the beginning is read."""
    limit = _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES
    with open_file(path, SourceError) as file:
        _check_kind(file.read(_HEAD_BYTES), path)
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit:
            raise SourceError(
                f"{path}: {size_bytes} bytes are more than {max_pixels} pixels can take; raise it with --max-pixels"
            )
        file.seek(0)
        return file.read(size_bytes)


def _check_kind(head: bytes, path: Path) -> str:
    """Return the format of a file that begins so; raises SourceError for one that is no image."""
    if not head:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    kind = image_format(head)
    if kind is None:
        foreign = foreign_kind(head)
        found = foreign.text if foreign else f"a file that begins {head[:8]!r}"
        raise SourceError(f"{path}: wanted a PNG, JPEG, BMP, WebP, TIFF, GIF, HEIC or AVIF picture, got {found}")
    return kind


def is_image(path: Path) -> bool:
    """Return whether a file's content starts like an image, but not like a GIF, which alone is a video.

    Raises:
        SourceError: it cannot be read.
    """
    with open_file(path, SourceError) as file:
        return image_format(file.read(_HEAD_BYTES)) not in (None, "GIF")


def open_images(paths: Sequence[Path], max_pixels: int, on_error: OnError | None = None, left_out: int = 0) -> Source:
    """Return a source of images; a frame's index is its position in `paths`.

    Args:
        paths: the files.
        max_pixels: the largest image that is decoded.
        on_error: called for each image that cannot be read and is left out; after the last one a SourceError is
            raised if there was no other. Without it the first error is raised.
        left_out: how many files beside them are no images.
    """
    return Source(_frames(paths, max_pixels, on_error), len(paths), None, tuple(paths), left_out=left_out)


def _frames(paths: Sequence[Path], max_pixels: int, on_error: OnError | None) -> Iterator[Frame]:
    notes = _Notes()
    count = 0
    try:
        for index, path in enumerate(paths):
            try:
                image = read_image(path, max_pixels, notes.add)
            except (SourceError, DependencyError) as error:
                if on_error is None:
                    raise
                on_error(error if isinstance(error, SourceError) else SourceError(f"{path}: {error}"))
                continue
            count += 1
            yield Frame(image, index, time.time_ns(), printable_path(path))
    finally:
        notes.log_rest()
    if not count:
        raise SourceError(f"{paths[0].parent}: none of {len(paths)} pictures could be read")


class _Notes:
    """Logs the first note of each kind when it comes, and the number of the others at the end."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def add(self, kind: str, text: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] == 1:
            _LOG.warning("%s", text)

    def log_rest(self) -> None:
        words = {"doubt": "may be damaged"}
        for kind, count in self._counts.items():
            if count > 1:
                reason = words.get(kind, f"have several {kind}, the first of each is read")
                _LOG.warning("%s more: %s", plural(count - 1, "picture"), reason)
