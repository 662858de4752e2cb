"""Frames of a video file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from nanoseg.errors import SourceError, needs
from nanoseg.sources.source import Source
from nanoseg.types import Frame

with needs("OpenCV", "opencv"):
    import cv2

# FFmpeg would print to stderr beside our one line; it reads this once, when a process opens its first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# FFmpeg would also play text files, and playlists that name other files, so only known suffixes are passed to it.
VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".gif", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
# A container's number of frames is often an estimate; a file with less than this share of it is truncated.
_MIN_SHARE = 0.9


def open_video(path: Path, max_pixels: int) -> Source:
    """Open a video file.

    Iterating raises SourceError, after the last frame, where the video stops well before its end.

    Args:
        path: the file.
        max_pixels: the largest frame that is decoded.

    Raises:
        SourceError: it cannot be opened, or its frames are too large.
    """
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes)")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        # Absolute, because FFmpeg takes what precedes a colon for a protocol.
        capture = cv2.VideoCapture(str(path.absolute()))
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise SourceError(f"{path}: cannot be opened as a video; it is damaged, cut short or in an unknown codec")
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        capture.release()
        raise SourceError(
            f"{path}: {width} x {height} pixels are more than the limit of {max_pixels}; raise it with --max-pixels"
        )
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    fps = capture.get(cv2.CAP_PROP_FPS)
    # An unknown rate is reported as 0 or less, or as a time base of thousands.
    fps = fps if 0 < fps <= 1000 else 25.0
    return Source(_frames(path, capture, count), count if count > 0 else None, fps, (path,))


def _frames(path: Path, capture: cv2.VideoCapture, count: int) -> Iterator[Frame]:
    index = 0
    try:
        while True:
            decoded, image = capture.read()
            if not decoded:
                break
            yield Frame(image, index, time.time_ns(), str(path))
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise SourceError(f"{path}: the video has no frame that can be decoded")
    if index < _MIN_SHARE * count:
        raise SourceError(f"{path}: the video stops after {index} of {count} frames; it is damaged or cut short")
