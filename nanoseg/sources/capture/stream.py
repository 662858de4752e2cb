"""A network stream read by PyAV with little delay: RTSP, HTTP (MJPEG, MPEG-TS, HLS), RTMP, SRT, UDP."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

from nanoseg.errors import SourceError, needs
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Captured, EndOfSource
from nanoseg.sources.capture.stream_clock import StreamClock
from nanoseg.sources.capture.stream_damage import DamageGate
from nanoseg.sources.capture.stream_errors import reason
from nanoseg.sources.capture.stream_options import StreamOptions, stream_options
from nanoseg.sources.motion_jpeg import holds_two_fields
from nanoseg.sources.source import check_pixels
from nanoseg.sources.video_frames import ConversionError, Converter, Deinterlacer
from nanoseg.sources.video_tracks import decoder_limit, plausible_rate, video_track

with needs("PyAV", "video"):
    import av
    import av.logging
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

OPEN_S = 10.0  # to connect and to learn what the stream is
READ_S = 40.0  # of silence, where nothing else is wanted; the camera that reads this is more exact
# Their parser ends a frame when the next one begins: it hands one out at the moment of the next one's arrival.
_ENDED_BY_NEXT = ("h264", "hevc")
# Formats whose packets have no time of their own; FFmpeg makes one up.
_TIMELESS = ("mpjpeg", "mjpeg", "h264", "hevc")
_MAX_ERRORS = 100  # one after the other, after which the stream is lost
_MAX_LAG_S = 2.0  # behind for so long and so much, frames are left out until the next keyframe
_MAX_PENDING = 64  # times of packets whose frames did not come


class Stream:
    """A Capture of a network stream; one at a time in a process, as FFmpeg's messages are the process's."""

    def __init__(self, url: CameraUrl, max_pixels: int, options: StreamOptions) -> None:
        """Open a stream, and wait for its first whole frame. Raises SourceError."""
        self._url, self._max_pixels, self._label = url, max_pixels, options.label
        self._gate, self._clock, self._converter = DamageGate(), StreamClock(), Converter()
        self._captured: dict[int | None, int] = {}  # by the packet's time
        self._behind_since: float | None = None
        self._skipping = self._fields = False
        self._messages: list[tuple[int, str, str]] = []
        self._logging = av.logging.Capture(local=False)
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)
        self._messages = self._logging.__enter__()
        self._container: InputContainer | None = None
        try:
            self._container = self._open(options)
            self._stream = video_track(self._container, url.shown)
            self._timed = self._container.format.name not in _TIMELESS
            self._time_base = self._stream.time_base or Fraction(1, av.time_base)
            context = self._stream.codec_context
            context.options = {"max_pixels": decoder_limit(max_pixels)}
            if context.name in _ENDED_BY_NEXT:  # others give frames in the order of decoding, then
                context.options |= {"flags": "low_delay"}
            # Threads for frames hold back one each, and cameras send one slice a frame.
            context.thread_count = 1
            self._frames = Deinterlacer(self._time_base).run(self._decode(), self._is_interlaced)
            self._first: Captured | None = self._next()
        except BaseException:
            self.close()
            raise

    @property
    def fps(self) -> float | None:
        """Frames a second as the stream declares it."""
        return plausible_rate(self._stream.codec_context.framerate, self._stream.average_rate)

    @property
    def clock(self) -> str:
        """What the moment of capture comes from: "source" or "arrival"."""
        return self._clock.source

    @property
    def damaged(self) -> int:
        """Frames so far that are lost or were damaged."""
        return self._gate.damaged

    @property
    def description(self) -> str:
        """What is read: "1280x720 h264 25 fps, RTSP over TCP by PyAV"."""
        context = self._stream.codec_context
        rate = f" {self.fps:.3g} fps" if self.fps else ""
        return f"{context.width}x{context.height} {context.name}{rate}, {self._label} by PyAV"

    def read(self) -> Captured:
        """Wait for the next whole frame. Raises SourceError, EndOfSource."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._next()

    def close(self) -> None:
        """Close the stream."""
        if self._container is not None:
            self._container.close()
            self._container = None
        self._logging.__exit__(None, None, None)

    def _next(self) -> Captured:
        try:
            frame, times = next(self._frames)
            check_pixels(self._url.shown, (frame.width, frame.height), self._max_pixels)
            image = self._converter.to_bgr(frame)
        except StopIteration:
            assert self._container is not None
            if self._container.duration:  # a recording
                raise EndOfSource from None
            raise SourceError(f"{self._url.shown}: the source ended the stream") from None
        except ConversionError as error:
            raise SourceError(f"{self._url.shown}: {error}") from error
        media_ns = None if times.pts is None or not self._timed else round(times.pts * times.time_base * 1_000_000_000)
        return Captured(image, self._captured.pop(times.pts, 0) or time.time_ns(), media_ns)

    def _open(self, options: StreamOptions) -> InputContainer:
        begin = time.monotonic()
        open_s = min(OPEN_S, self._url.timeout_s or OPEN_S)
        try:
            return self._open_format(options.format, options, open_s)
        except (av.FFmpegError, OSError, ValueError) as error:
            late = time.monotonic() - begin >= open_s
            why = "no answer in time" if late else reason(error, self._take_messages())
            if isinstance(error, av.InvalidDataError) and options.second_format is not None and not late:
                with suppress(av.FFmpegError, OSError, ValueError):
                    return self._open_format(options.second_format, options, open_s)
            raise SourceError(f"{self._url.shown}: the stream cannot be opened: {why}") from error

    def _open_format(self, container_format: str | None, options: StreamOptions, open_s: float) -> InputContainer:
        # Not `options`: PyAV 17 and earlier write them beyond a table's end where a file lists no streams in front.
        return av.open(
            self._url.address,
            "r",
            format=container_format,
            container_options=options.options,
            metadata_errors="replace",
            timeout=(open_s, self._url.timeout_s or READ_S),
        )

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the track, reading on after damage."""
        assert self._container is not None
        errors = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        errors = 0
                        yield packet
                return
            except av.InvalidDataError as error:
                errors += 1
                self._gate.lose(1)
                if errors > _MAX_ERRORS:
                    raise SourceError(f"{self._url.shown}: what it sends can no longer be read") from error
            except (av.FFmpegError, OSError) as error:
                why = reason(error, self._take_messages())
                raise SourceError(f"{self._url.shown}: the stream is lost: {why}") from error

    def _decode(self) -> Iterator[VideoFrame]:
        """Yield the whole frames, their moment of capture noted."""
        context = self._stream.codec_context
        before: tuple[int, int] | None = None
        for packet in self._packets():
            now = time.monotonic_ns(), time.time_ns()
            arrival = before or now if context.name in _ENDED_BY_NEXT else now
            before = now
            self._stamp(packet, *arrival)
            if self._skips(packet):
                self._gate.lose(1)
                continue
            network, marked = self._take_messages(), packet.is_corrupt
            try:
                frames = context.decode(packet)
            except EOFError:
                return
            except av.FFmpegError:
                self._take_messages()
                self._gate.lose(1)
                continue
            decoder = self._take_messages()
            if not frames and any("missed" in text for text in network):
                self._gate.lose(1)
            self._fields = self._fields or (context.name == "mjpeg" and holds_two_fields(bytes(packet), context.height))
            for frame in frames:
                keyframe = bool(frame.key_frame) or packet.is_keyframe
                if self._gate.passes(keyframe, marked or frame.is_corrupt, network, decoder):
                    yield frame

    def _stamp(self, packet: Packet[VideoStream], arrival_ns: int, wall_ns: int) -> None:
        media_ns = (
            round(packet.pts * self._time_base * 1_000_000_000) if self._timed and packet.pts is not None else None
        )
        if len(self._captured) >= _MAX_PENDING:
            del self._captured[next(iter(self._captured))]
        self._captured[packet.pts] = self._clock.captured_ns(arrival_ns, wall_ns, media_ns, _sender_ns(packet))

    def _skips(self, packet: Packet[VideoStream]) -> bool:
        """Return whether a packet is left out, as this machine decodes more slowly than the stream comes."""
        now = time.monotonic()
        if self._clock.lag_ns < _MAX_LAG_S * 1e9:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since > _MAX_LAG_S:
            self._skipping = True
        if packet.is_keyframe and self._behind_since is None:
            self._skipping = False
        return self._skipping

    def _is_interlaced(self, frame: VideoFrame) -> bool:
        return frame.interlaced_frame or self._fields

    def _take_messages(self) -> list[str]:
        texts = [text for _, _, text in self._messages]
        self._messages.clear()
        return texts


def _sender_ns(packet: Packet[VideoStream]) -> int | None:
    """Return the time of the source's own clock, from RTCP sender reports; None where there was none yet."""
    if not packet.has_sidedata("prft"):
        return None
    return int(struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0]) * 1000


def open_stream(url: CameraUrl, max_pixels: int) -> Stream:
    """Open a network stream, and wait for its first whole frame.

    Args:
        url: the stream.
        max_pixels: the largest frame that is accepted.

    Raises:
        SourceError: it cannot be opened or gives no frame.
        UsageError: the scheme is none of a stream.
    """
    return Stream(url, max_pixels, stream_options(url))
