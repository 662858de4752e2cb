"""Open a source by its path or URL: a file, a folder, a glob, `parts://`, a camera or a stream."""

from __future__ import annotations

from pathlib import Path

from nanoseg.errors import DependencyError, SourceError, os_reason
from nanoseg.sources.camera_url import STREAM_SCHEMES, parse_camera_url
from nanoseg.sources.motion_jpeg import is_motion_jpeg
from nanoseg.sources.source import MAX_PIXELS, NotAVideo, OnError, Source
from nanoseg.utils.urls import file_path, has_scheme

LINE_FPS = 25.0  # frame rate of the simulated line, which has no clock


def open_source(
    source: str | Path, *, max_pixels: int = MAX_PIXELS, on_error: OnError | None = None, live: bool = False
) -> Source:
    """Open a source of frames.

    Args:
        source: an image, folder, glob, video file, `file://` URL, `parts://?seed=1&size=640x480&objects=6`, a camera
            (`/dev/video0`, `csi://0`) or a stream (`rtsp://...`); see `nanoseg.sources.camera_url`.
        max_pixels: the largest frame that is decoded.
        on_error: called for each image of a folder or glob that cannot be read and is skipped; without it the first
            such error is raised.
        live: whether any source is read as a camera is: at its own pace, the newest frame each time.

    Returns:
        The source; images and frames are read as it is iterated.

    Raises:
        SourceError: there is nothing to read.
        UsageError: an invalid `parts://`, or an invalid option of a camera.
    """
    text = str(source)
    if not text:  # of a script's variable that is not set; as a path it is the current folder
        raise SourceError(
            "the source is empty; wanted an image, a folder (. is this one), a glob, a video, a camera, a stream or parts://"
        )
    if url := parse_camera_url(text, live=live):
        from nanoseg.sources.live_frames import open_live

        behind = open_source(text, max_pixels=max_pixels) if url.kind == "live" else None
        return open_live(url, max_pixels, behind)
    if text.startswith("parts:"):
        from nanoseg.sources.simulator.line import line_from_url

        return Source(line_from_url(text), None, LINE_FPS)
    text = file_path(text) or text
    path = Path(text)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # a name too long or with a NUL, a parent folder without permission
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise SourceError(f"{text}: cannot be read: {reason}") from error
    if has_scheme(text):
        raise SourceError(
            f"{text}: no such kind of source; wanted an image, a folder, a glob, a video file, parts://, a camera "
            f"(/dev/video0, csi://0) or a stream ({', '.join(STREAM_SCHEMES)})"
        )
    from nanoseg.sources import image_files, images

    if is_folder:
        files = image_files.list_images(path)
        return images.open_images(files.paths, max_pixels, on_error, files.left_out)
    if exists:
        return _open_file(path, max_pixels)
    if any(mark in text for mark in "*?["):
        files = image_files.glob_images(text)
        return images.open_images(files.paths, max_pixels, on_error, files.left_out)
    raise SourceError(f"{text}: no such file or folder")


def _open_file(path: Path, max_pixels: int) -> Source:
    """Open an image or a video, by its content whatever its name."""
    from nanoseg.sources import images
    from nanoseg.sources.image_files import READ_SUFFIXES

    motion_jpeg = path.suffix.lower() not in READ_SUFFIXES and is_motion_jpeg(path)
    if not motion_jpeg and images.is_image(path):
        return images.open_images([path], max_pixels)
    try:
        from nanoseg.sources import video

        return video.open_video(path, max_pixels, "mjpeg" if motion_jpeg else None)
    except (NotAVideo, DependencyError):
        if path.suffix.lower() in READ_SUFFIXES:  # says what is wrong with it as an image
            return images.open_images([path], max_pixels)
        raise
