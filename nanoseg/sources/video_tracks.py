"""The video track of what FFmpeg opened, and its decoder."""

from __future__ import annotations

from fractions import Fraction

from nanoseg.errors import SourceError, needs

with needs("PyAV", "video"):
    from av.container import InputContainer
    from av.stream import Disposition
    from av.video.stream import VideoStream

_INT_MAX = (1 << 31) - 1  # more opens no decoder


def video_track(container: InputContainer, where: object) -> VideoStream:
    """Return the track that ffmpeg would choose: the largest, those that are marked as the default before others.

    Args:
        container: what is open.
        where: its file or address, for the message.

    Raises:
        SourceError: there is no video in it, or none that can be decoded.
    """
    streams = container.streams
    tracks = [stream for stream in streams.video if is_video(stream)]
    if not tracks:
        got = "sound" if streams.audio else "other data"
        if streams.video:
            got += " and a cover picture"
        raise SourceError(f"{where}: there is no video in it, only {got}")
    readable = [stream for stream in tracks if stream.codec_context is not None]
    if not readable:
        raise SourceError(f"{where}: this PyAV has no decoder for the codec of the video; pip install -U av")
    return max(
        readable, key=lambda one: one.width * one.height + 5_000_000 * bool(one.disposition & Disposition.default)
    )


def decoder_limit(max_pixels: int) -> str:
    """Return FFmpeg's `max_pixels`: its decoders refuse what is far larger before they take memory for it."""
    return str(min(max(4 * max_pixels, 1 << 23), _INT_MAX))


def plausible_rate(*rates: Fraction | int | None) -> float | None:
    """Return the first frame rate that is one: an unknown rate is reported as none, 0 or a time base of thousands."""
    return next((float(rate) for rate in rates if rate and 0 < rate <= 1000), None)


def is_video(stream: VideoStream) -> bool:
    """Return whether a track is no cover picture."""
    return not stream.disposition & Disposition.attached_pic
