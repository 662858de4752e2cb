"""A source: frames, their number and their rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.types import Frame

# 100 megapixels decode to 300 MB: more than any camera delivers, far less than a decompression bomb needs.
MAX_PIXELS = 100_000_000

OnError = Callable[[SourceError], None]


@dataclass(frozen=True, eq=False)
class Source:
    """Frames to be read once, from first to last.

    Iterating raises SourceError where reading fails. A single image of a folder or glob that cannot be read is passed
    to `on_error` of `open_source` instead.
    """

    frames: Iterable[Frame]
    count: int | None  # number of frames, as far as the source knows; None: unknown, or without end
    fps: float | None  # frames a second; None: separate images
    paths: tuple[Path, ...] = ()  # the files that are read, which must not be overwritten
    left_out: int = 0  # files of a folder or glob that are no images

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def check_pixels(path: object, size_wh: tuple[int, int], max_pixels: int) -> None:
    """Raise SourceError where an image or frame has more than `max_pixels`."""
    width, height = size_wh
    if width * height > max_pixels:
        raise SourceError(
            f"{path}: {width} x {height} pixels are more than the limit of {max_pixels}; raise it with --max-pixels"
        )
