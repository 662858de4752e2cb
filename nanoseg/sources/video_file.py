"""A video file: recognised by its content, in the formats listed here alone, decoded past damage.

No other file than itself is read, whatever it says, and none is read by a name that FFmpeg would take apart.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

from nanoseg.errors import SourceError, needs, one_line, os_reason
from nanoseg.sources.motion_jpeg import holds_two_fields
from nanoseg.sources.source import NotAVideo, check_pixels
from nanoseg.sources.video_ends import ends_early
from nanoseg.sources.video_tracks import decoder_limit, is_video, plausible_rate, video_track
from nanoseg.utils.foreign_files import READABLE_PICTURE, VIDEO, foreign_kind
from nanoseg.utils.regular_file import open_regular
from nanoseg.utils.video_colour import VideoFormat

with needs("PyAV", "video"):
    import av
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# FFmpeg also reads text that names other files (concat, HLS, DASH, SDP), single pictures and devices: none is here.
_VIDEO_FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "gif", "mxf", "gxf", "dv", "nut"),
    *("rm", "wtv", "ivf", "obu", "av1", "h264", "hevc", "vvc", "m4v", "h263", "h261", "vc1", "dirac", "cavsvideo"),
    *("yuv4mpegpipe", "mjpeg"),
)
# Read to say that a file holds sound alone.
_SOUND_FORMATS = ("mp3", "wav", "flac", "aac", "ac3", "eac3", "aiff", "au", "amr", "w64", "caf", "dts")
_OPTIONS = {"format_whitelist": ",".join(_VIDEO_FORMATS + _SOUND_FORMATS), "protocol_whitelist": "none"}
READ_HERE = (
    "pictures are PNG, JPEG, BMP, WebP, TIFF, PNM, HEIC or AVIF, videos MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV, "
    "OGV, MXF, GIF, MJPEG, raw H.264 or HEVC"
)
_VIDEO_MAGIC = re.compile(
    rb".{4}(?:ftyp|moov|mdat|wide)|RIFF.{4}AVI |\x1aE\xdf\xa3|FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11|OggS|GIF8|"
    rb"\x00\x00\x01[\xb0\xb3\xba]|\x06\x0e\x2b\x34|G.{187}G.{187}G",
    re.DOTALL,
)
_PLAYLIST = re.compile(
    rb"\s*(ffconcat |#EXTM3U|\[playlist\]|v=0\r?\n|<asx|(<\?xml[^>]*>\s*)?<(MPD|playlist|smil))", re.IGNORECASE
)
_HD_PIXELS = 1280 * 720
_JOINT = 3  # packets before a joint that are marked for it, at most
_LONG_JUMP_S = 10  # ffmpeg's threshold for a clock that was set
_MAX_ERRORS = 100  # one after the other, after which the rest of a file is not tried


class _File:
    """A file for FFmpeg without its name, by whose end FFmpeg would guess.

    An error of the system, or Ctrl-C, is kept until FFmpeg has returned: PyAV prints or drops what is raised inside.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: BaseException | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        try:
            return b"" if self.error is not None else self.file.read(size)
        except BaseException as error:
            self.error = error
            return b""

    def check(self, path: Path) -> None:
        """Raise what `read` met, an error of the system as SourceError."""
        if isinstance(self.error, OSError):
            raise SourceError(f"{path}: cannot be read: {os_reason(self.error)}") from self.error
        if self.error is not None:
            raise self.error


@dataclass
class Damage:
    """Counts of what could not be decoded as it was recorded."""

    lost: int = 0  # packets that cannot be read
    refused: int = 0  # packets that the decoder refuses
    marked: int = 0  # packets that the container marks as damaged
    shown: int = 0  # frames with visible errors
    ends_early: bool = False

    @property
    def frames(self) -> int:
        """The number of frames that are lost or show errors."""
        return self.lost + max(self.marked, self.refused + self.shown)


class VideoFile:
    """An open video file."""

    def __init__(self, path: Path, max_pixels: int, container_format: str | None = None) -> None:
        """Open a file.

        Args:
            path: a regular file.
            max_pixels: the largest frame that is decoded.
            container_format: FFmpeg's name of its format; None to recognise it.

        Raises:
            NotAVideo: it is none.
            SourceError: it cannot be read, has no video track, or its frames are too large.
        """
        self.path, self._max_pixels = path, max_pixels
        self.damage = Damage()
        self._fields, self._end = False, 0  # motion JPEG in two fields; where the last packet ends in the file
        try:
            self._file = _File(open_regular(path))
            weakref.finalize(self, self._file.file.close)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {os_reason(error)}") from error
        try:
            self._refuse_others()
            self._container = self._open(container_format)
            self._file.check(path)
            self.stream = video_track(self._container, path)
            self.check_size(self.stream.codec_context.width, self.stream.codec_context.height)
        except BaseException:
            self._file.file.close()
            raise
        self.stream.codec_context.options = {"max_pixels": decoder_limit(max_pixels)}
        # Threads that decode several frames at once take fresh memory for each: worth it for large frames alone.
        pixels = self.stream.codec_context.width * self.stream.codec_context.height
        self.stream.codec_context.thread_type = "AUTO" if pixels > _HD_PIXELS else "SLICE"
        self.tracks = sum(is_video(stream) for stream in self._container.streams.video)
        self.time_base = self.stream.time_base or Fraction(1, av.time_base)
        self.codec, self._height = self.stream.codec_context.name, self.stream.codec_context.height
        # Those whose clock may be set within a file: FFmpeg calls them discontinuous.
        self.broadcast = self._container.format.name in ("mpegts", "mpeg")

    @property
    def fps(self) -> float:
        """Frames a second on average; 25 where nothing says."""
        rates = self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate
        return plausible_rate(*rates) or 25.0

    @property
    def count(self) -> int | None:
        """An estimate of the number of frames."""
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration:
            return round(self.stream.duration * self.time_base * self.fps) or None
        return round(self._container.duration / av.time_base * self.fps) or None if self._container.duration else None

    @property
    def format(self) -> VideoFormat:
        """What the stream says of its pixels."""
        context = self.stream.codec_context
        aspect = self.stream.sample_aspect_ratio or context.sample_aspect_ratio
        tags = (int(context.colorspace), int(context.color_primaries), int(context.color_trc))
        return VideoFormat(aspect, *tags) if aspect and aspect > 0 else VideoFormat(VideoFormat.sample_aspect, *tags)

    def check_size(self, width: int, height: int) -> None:
        """Raise SourceError for a frame that is too large."""
        check_pixels(self.path, (width, height), self._max_pixels)

    def decode(self) -> Iterator[VideoFrame]:
        """Yield the frames, reading on after errors; `damage` counts these.

        Raises:
            SourceError: the system fails to read the file, after all frames before.
        """
        begun = False  # a recording that was cut starts with frames that lack those they refer to: no damage
        marked: set[int | None] = set()
        for packet in self._packets():
            begun = begun or packet.is_keyframe
            if packet.is_corrupt and begun:
                marked.add(packet.pts)
            self._fields = self._fields or (self.codec == "mjpeg" and holds_two_fields(bytes(packet), self._height))
            for frame in self._decode(packet, begun):
                begun = True
                self.damage.shown += frame.is_corrupt and frame.pts not in marked
                yield frame
        yield from self._decode(None, begun)
        self._file.check(self.path)
        self.damage.ends_early = self.damage.ends_early or ends_early(self._file.file, self._end)

    def is_interlaced(self, frame: VideoFrame) -> bool:
        """Return whether a frame is of two fields; of motion JPEG the decoder does not say."""
        return frame.interlaced_frame or self._fields

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.file.close()

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the track, and count what the container marks as damaged.

        At the joint of two recordings, where the clock jumps, nothing is: only numbers of packets do not fit.
        """
        errors, last_dts, since_marked = 0, None, _JOINT
        while errors <= _MAX_ERRORS:
            try:
                for packet in self._container.demux():
                    if self._file.error is not None:
                        return
                    self._end = max(self._end, (packet.pos or 0) + packet.size)
                    if packet.stream_index != self.stream.index or not (packet.size or packet.dts is not None):
                        continue  # of another track, or the last one, which only flushes
                    if since_marked < _JOINT and last_dts is not None and packet.dts is not None:
                        self.damage.marked -= not 0 <= (packet.dts - last_dts) * self.time_base < _LONG_JUMP_S
                    last_dts, since_marked = packet.dts, 0 if packet.is_corrupt else since_marked + 1
                    self.damage.marked += packet.is_corrupt
                    errors = 0
                    yield cast("Packet[VideoStream]", packet)
                return
            except (av.FFmpegError, OSError):
                if self._file.error is not None:
                    return
                errors += 1
                self.damage.lost += 1
        self.damage.ends_early = True

    def _decode(self, packet: Packet[VideoStream] | None, begun: bool) -> list[VideoFrame]:
        try:
            return self.stream.codec_context.decode(packet)
        except EOFError:
            return []
        except av.FFmpegError:
            self.damage.refused += begun
            return []

    def _open(self, container_format: str | None) -> InputContainer:
        try:
            # Not `options`: PyAV 17 and earlier write them beyond a table's end where a file lists no streams in front.
            return av.open(
                self._file, "r", format=container_format, container_options=_OPTIONS, metadata_errors="replace"
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            self._file.check(self.path)
            raise self._refused(error) from error

    def _refuse_others(self) -> None:
        begin = self._file.read(1024)
        self._file.check(self.path)
        foreign, found = foreign_kind(begin), ""
        if _PLAYLIST.match(begin):
            found = "a list of other files, which are not opened"
        elif foreign and foreign.name not in (VIDEO, READABLE_PICTURE):  # FFmpeg would read raw photographs as videos
            found = foreign.text
        if found:
            raise NotAVideo(f"{self.path}: wanted a picture or a video, got {found}; {READ_HERE}")
        self._file.seek(0)

    def _refused(self, error: Exception) -> SourceError:
        self._file.file.seek(0)
        begin = self._file.file.read(1024)
        if not begin:
            return SourceError(f"{self.path}: the file is empty (0 bytes)")
        if not _VIDEO_MAGIC.match(begin):
            return NotAVideo(
                f"{self.path}: wanted a picture or a video, got a file that begins {begin[:8]!r}; {READ_HERE}"
            )
        reason = one_line(error).partition(":")[0].partition("] ")[2] or "unknown"
        return SourceError(
            f"{self.path}: cannot be opened as a video; it is damaged, cut short before its index was written, or "
            f"of an unknown kind ({reason})"
        )
