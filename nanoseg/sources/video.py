"""Frames of a video file, with the times at which they are shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.sources.source import ReadReport, Source
from nanoseg.sources.video_file import VideoFile
from nanoseg.sources.video_frames import ConversionError, Converter, Deinterlacer, Times, display_matrix, turned
from nanoseg.types import Frame
from nanoseg.utils.names import printable_path
from nanoseg.utils.terminal import plural
from nanoseg.utils.video_colour import VideoFormat

_NS = 1_000_000_000
_LONG_JUMP_NS = 10 * _NS  # a clock of a broadcast that was set; ffmpeg has the same threshold
_SET_BACK_FRAMES = 4  # less is frames out of order, not a clock that was set


def open_video(path: Path, max_pixels: int, container_format: str | None = None) -> Source:
    """Open a video file, recognised by its content.

    Interlaced frames are deinterlaced, pictures are turned upright. Reading goes on after damage; the source's report
    counts the frames that are lost or show errors.

    Args:
        path: a regular file.
        max_pixels: the largest frame that is decoded.
        container_format: FFmpeg's name of its format; None to recognise it.

    Raises:
        NotAVideo: it is none.
        SourceError: it cannot be opened, or its frames are too large.
    """
    video, report = VideoFile(path, max_pixels, container_format), ReadReport()
    form = video.format
    return Source(_frames(video, form, report), video.count, video.fps, (path,), video=form, report=report)


class Clock:
    """Times of frames from their stream's clock: from 0 on and never back, also where the clock is set."""

    def __init__(self, fps: float, broadcast: bool = False) -> None:
        """Start a clock.

        Args:
            fps: frames a second, of frames that have no time or duration.
            broadcast: whether a long jump is a clock that was set, as in what broadcasts deliver, not a still picture.
        """
        self._frame_ns, self._broadcast = round(_NS / fps), broadcast
        self._offset_ns: int | None = None
        self._last_ns = self._last_duration_ns = 0

    def read(self, times: Times) -> tuple[int, int]:
        """Return when the next frame is shown, and for how long, both in nanoseconds."""
        duration_ns = round(times.duration * times.time_base * _NS) if times.duration > 0 else self._frame_ns
        following_ns = self._last_ns + self._last_duration_ns
        if times.pts is None:
            media_ns = following_ns
        else:
            stream_ns = round(times.pts * times.time_base * _NS)
            if self._offset_ns is None:
                self._offset_ns = stream_ns
            media_ns = stream_ns - self._offset_ns
            step_ns = media_ns - self._last_ns
            if step_ns < -_SET_BACK_FRAMES * duration_ns or (self._broadcast and step_ns > _LONG_JUMP_NS):
                self._offset_ns, media_ns = stream_ns - following_ns, following_ns
        self._last_ns, self._last_duration_ns = max(media_ns, self._last_ns), duration_ns
        return self._last_ns, duration_ns


def _frames(video: VideoFile, form: VideoFormat, report: ReadReport) -> Iterator[Frame]:
    name = printable_path(video.path)
    clock, converter, deinterlacer = Clock(video.fps, video.broadcast), Converter(), Deinterlacer(video.time_base)
    index = 0
    try:
        for frame, times in deinterlacer.run(video.decode(), video.is_interlaced):
            video.check_size(frame.width, frame.height)
            if index == 0 and turned(display_matrix(frame)):
                form.sample_aspect = 1 / form.sample_aspect
            media_ns, duration_ns = clock.read(times)
            yield Frame(converter.to_bgr(frame), index, time.time_ns(), name, media_ns, duration_ns)
            index += 1
    except ConversionError as error:
        raise SourceError(f"{video.path}: {error}") from error
    finally:
        video.close()
        report.damaged = video.damage.frames
        report.notes += _notes(video, deinterlacer.used)
    if index == 0:
        raise SourceError(
            f"{video.path}: the video has no frame that can be decoded ({video.codec}); it is damaged or cut short"
        )


def _notes(video: VideoFile, deinterlaced: bool) -> Iterator[str]:
    if deinterlaced:
        yield f"{video.path}: interlaced; deinterlaced by FFmpeg's bwdif, one frame out for each"
    if video.tracks > 1:
        size = f"{video.stream.codec_context.width} x {video.stream.codec_context.height}"
        yield f"{video.path}: {video.tracks} video tracks; the one of {size} pixels was read"
    if video.damage.ends_early:
        yield f"{video.path}: the file ends early: its end is missing or cannot be read; all frames before were read"
    if video.damage.frames:
        yield f"{video.path}: damaged: {plural(video.damage.frames, 'frame')} lost or with errors"
