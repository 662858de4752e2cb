"""A source: frames, their number and their rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.errors import SourceError
from nanoseg.types import Frame
from nanoseg.utils.video_colour import VideoFormat

if TYPE_CHECKING:
    from nanoseg.sources.camera import Camera

# 100 megapixels decode to 300 MB: more than any camera delivers, far less than a decompression bomb needs.
MAX_PIXELS = 100_000_000


class NotAVideo(SourceError):  # noqa: N818 - a SourceError that is told apart
    """A file's content is no video of a format that is read."""


OnError = Callable[[SourceError], None]


@dataclass
class ReadReport:
    """What was noticed while a source was read; complete when its last frame was."""

    damaged: int = 0  # frames that are lost, or that show errors
    notes: list[str] = field(default_factory=list)  # lines for the user


@dataclass(frozen=True, eq=False)
class Source:
    """Frames to be read once, from first to last.

    Iterating raises SourceError where reading fails. A single image of a folder or glob that cannot be read is passed
    to `on_error` of `open_source` instead.
    """

    frames: Iterable[Frame]
    count: int | None  # number of frames, an estimate for a progress bar; None: unknown, or without end
    fps: float | None  # frames a second, of a video the average; None: separate images
    paths: tuple[Path, ...] = ()  # the files that are read, which must not be overwritten
    left_out: int = 0  # files of a folder or glob that are no images
    video: VideoFormat | None = None  # of a video file
    report: ReadReport = field(default_factory=ReadReport)
    camera: Camera | None = None  # of a live source, whose frames are the newest ones; it starts with the first read

    def close(self) -> None:
        """Close the files that are being read; `report` is complete then."""
        close = getattr(self.frames, "close", None)
        if close is not None:
            close()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def check_pixels(path: object, size_wh: tuple[int, int], max_pixels: int) -> None:
    """Raise SourceError where an image or frame has more than `max_pixels`."""
    width, height = size_wh
    if width * height > max_pixels:
        raise SourceError(
            f"{path}: {width} x {height} pixels are more than the limit of {max_pixels}; raise it with --max-pixels"
        )
