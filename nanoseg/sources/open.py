"""One door for every source: a file, a folder, a pattern or `parts://`."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.sources.source import MAX_PIXELS, OnProblem, Source

LINE_FPS = 25.0  # the simulated line has no clock of its own


def open_source(source: str | Path, *, max_pixels: int = MAX_PIXELS, on_problem: OnProblem | None = None) -> Source:
    """An image, folder, glob, video file or `parts://?seed=1&size=640x480&objects=6`.

    Pictures of a folder or glob that cannot be read are told to `on_problem` and left out; without it the first
    one is raised. Raises SourceError for a source that gives nothing, UsageError for a wrong `parts://`.
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
    from nanoseg.sources import images as files
    from nanoseg.sources import video

    path = Path(source)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:  # a name too long, a folder on the way that may not be read
        raise SourceError(f"{text}: cannot be read: {error.strerror or error}") from error
    if is_folder:
        return files.open_images(files.list_folder(path), max_pixels, on_problem)
    if exists:
        if path.suffix.lower() in video.VIDEO_SUFFIXES and not files.is_picture(path):
            return video.open_video(path, max_pixels)
        return files.open_images([path], max_pixels)
    if any(mark in text for mark in "*?["):
        paths = sorted(each for each in map(Path, glob(text, recursive=True)) if not each.is_dir())
        if not paths:
            raise SourceError(f"{text}: no file has such a name")
        return files.open_images(paths, max_pixels, on_problem)
    raise SourceError(f"{text}: no such file or folder")
