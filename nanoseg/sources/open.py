"""Open a source by its path or URL: a file, a folder, a glob or `parts://`."""

from __future__ import annotations

from pathlib import Path

from nanoseg.errors import SourceError, os_reason
from nanoseg.sources.source import MAX_PIXELS, OnError, Source

LINE_FPS = 25.0  # frame rate of the simulated line, which has no clock


def open_source(source: str | Path, *, max_pixels: int = MAX_PIXELS, on_error: OnError | None = None) -> Source:
    """Open a source of frames.

    Args:
        source: an image, folder, glob, video file or `parts://?seed=1&size=640x480&objects=6`.
        max_pixels: the largest frame that is decoded.
        on_error: called for each image of a folder or glob that cannot be read and is skipped; without it the first
            such error is raised.

    Returns:
        The source; images and frames are read as it is iterated.

    Raises:
        SourceError: there is nothing to read.
        UsageError: an invalid `parts://`.
    """
    text = str(source)
    if text.startswith("parts:"):
        from nanoseg.sources.simulator.line import line_from_url

        return Source(line_from_url(text), None, LINE_FPS)
    if "://" in text or text.startswith("/dev/"):
        raise SourceError(
            f"{text}: cameras and streams are not read by this version; "
            "wanted an image, a folder, a glob, a video file or parts://"
        )
    from nanoseg.sources import image_files, images, video

    path = Path(source)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:  # a name too long, a parent folder without permission
        raise SourceError(f"{text}: cannot be read: {os_reason(error)}") from error
    if is_folder:
        files = image_files.list_images(path)
        return images.open_images(files.paths, max_pixels, on_error, files.left_out)
    if exists:
        if path.suffix.lower() in video.VIDEO_SUFFIXES and not images.is_image(path):
            return video.open_video(path, max_pixels)
        return images.open_images([path], max_pixels)
    if any(mark in text for mark in "*?["):
        files = image_files.glob_images(text)
        return images.open_images(files.paths, max_pixels, on_error, files.left_out)
    raise SourceError(f"{text}: no such file or folder")
