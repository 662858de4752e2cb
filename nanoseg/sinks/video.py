"""Annotated video: H.264 in an mp4 file, which every browser plays, with the times and colour tags of its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np

from nanoseg.errors import DependencyError, UsageError, needs, one_line, os_reason
from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.sinks.pieces import Pieces
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import write_errors
from nanoseg.utils.output_path import follow_links
from nanoseg.utils.signals import uninterrupted
from nanoseg.utils.video_colour import BT709, VideoFormat, scaler_matrix

with needs("PyAV", "video"):
    import av
    from av.video.reformatter import Colorspace, VideoReformatter

if TYPE_CHECKING:
    from av import Packet
    from av.video.stream import VideoStream

# One thread, as the segmenter needs the others. superfast takes two thirds of veryfast's time, for twice its size.
# No B-frames (an eighth more bytes): with them the muxer gives the last frame the duration of another one.
_X264 = {"preset": "superfast", "crf": "20", "threads": "1", "bf": "0"}
# A piece with its own index at each keyframe, and every two seconds, is handed to the system at once.
_FRAGMENTS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "2000000",
    "flush_packets": "1",
}
_TICKS = 90_000  # a second; divided evenly by the frame rates of films, television and cameras
_LIMITED, _FULL = 1, 2  # AVColorRange
# SWS_BICUBIC and SWS_ACCURATE_RND of FFmpeg's scaler: without the second grey is up to five levels off, and tinted.
_BICUBIC, _ACCURATE = 4, 1 << 18


class Video:
    """Sink that writes annotated frames to an mp4 file, which plays as long as their source."""

    may_wait = False

    def __init__(
        self,
        path: Path,
        fps: float,
        sources: Iterable[Path] = (),
        video: VideoFormat | None = None,
        *,
        endless: bool = False,
    ) -> None:
        """Create the folder and claim the file; it is written from the first frame on, whose size it takes.

        Args:
            path: the mp4 file.
            fps: frames a second, of frames without a time of their own.
            sources: files that frames are read from, and which are not to be overwritten.
            video: colour tags and sample aspect ratio to write.
            endless: write the index with the frames, so that the file plays whatever ends the program or the disk's
                space, and its end is not copied over.

        Raises:
            UsageError: the file cannot be written, is an open descriptor or one of `sources`, or another run writes it.
            DependencyError: PyAV was built without an H.264 encoder.
        """
        if "libx264" not in av.codecs_available:
            raise DependencyError('this PyAV was built without libx264: pip install --force-reinstall "nanoseg[video]"')
        with write_errors(path):
            if follow_links(path).descriptor is not None:  # FFmpeg would open it by its name, and empty its file
                raise UsageError(f"{path}: leads to an open descriptor; give --out a file or a folder")
            if path.is_fifo() and path.suffix.lower() != ".mkv":  # its index is known at the end alone
                raise UsageError(f"{path}: a pipe takes no {path.suffix}; give --out a pipe that is named .mkv")
        self._file, self._fps, self._format = GrowingFile(path, sources), fps, video or VideoFormat()
        self._encoder: _Encoder | None = None
        self._first_ns, self._endless = 0, endless

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left; it plays."""
        return self._file.kept

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write one frame; raises UsageError where the video cannot be written."""
        if annotated is None:
            return
        at_s = None
        if frame.media_ns is not None:
            self._first_ns = self._first_ns if self._encoder else frame.media_ns
            at_s = Fraction(frame.media_ns - self._first_ns, 10**9)
        with uninterrupted():
            if self._encoder is None:
                self._encoder = _Encoder(self._file, self._fps, annotated.shape[:2], self._format, self._endless)
            self._encoder.write(annotated, at_s, Fraction(frame.duration_ns, 10**9) if frame.duration_ns else None)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            try:
                if self._encoder is not None:
                    self._encoder.close()
            except UsageError:
                kind = UsageError  # it is not complete, and keeps its temporary name
                raise
            finally:
                self._file.end(kind, usable=self._encoder is not None and self._encoder.plays)


class _Encoder:
    def __init__(
        self, file: GrowingFile, fps: float, size_hw: tuple[int, int], video: VideoFormat, endless: bool
    ) -> None:
        self._path, self._failed, self.plays = file.path, False, False
        # H.264 as players take it halves the resolution of colour, so width and height must be even.
        self._size_hw = height, width = (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)
        self._frame_s = 1 / Fraction(fps).limit_denominator(1001)
        self._last_pts, self._frames = -1, 0
        self._durations: dict[int, int] = {}  # in ticks, of the frames inside the encoder, by their time
        self._reformatter, self._scaler = VideoReformatter(), VideoReformatter()
        with self._translate_errors():
            # Absolute, because FFmpeg takes what precedes a colon for a protocol.
            name = str(file.part.absolute())
            self._pieces = Pieces(file.open(), name) if endless else None
            # faststart: the index goes to the front, so that a browser can start before it has all of the file.
            flags = _FRAGMENTS if endless else {"movflags": "faststart"}
            options = {} if file.part.suffix.lower() == ".mkv" else flags
            self._container = av.open(self._pieces or name, "w", options=options)
            self._stream = self._container.add_stream("libx264", rate=1 / self._frame_s, options=_X264)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, _TICKS)
        context.sample_aspect_ratio = video.sample_aspect
        self._matrix, context.color_primaries, context.color_trc = video.tags((width, height))
        if scaler_matrix(self._matrix, (width, height)) not in {int(each) for each in Colorspace}:
            self._matrix = BT709  # PyAV 17 and earlier cannot convert to BT.2020
        context.colorspace, context.color_range = self._matrix, _LIMITED

    def write(self, image: np.ndarray, at_s: Fraction | None, duration_s: Fraction | None) -> None:
        """Encode one frame, shown from `at_s` seconds on; without it one after the other."""
        if at_s is None:
            at_s = self._frames * self._frame_s
        pts = max(round(at_s * _TICKS), self._last_pts + 1)
        self._last_pts, self._frames = pts, self._frames + 1
        # The muxer takes a frame's duration from the next frame's time, so this one counts for the last.
        self._durations[pts] = max(1, round((duration_s or self._frame_s) * _TICKS))
        bgr = av.VideoFrame.from_ndarray(self._fitted(image), format="bgr24")
        frame = self._reformatter.reformat(
            bgr,
            format="yuv420p",
            dst_colorspace=scaler_matrix(self._matrix, (bgr.width, bgr.height)),
            src_color_range=_FULL,
            dst_color_range=_LIMITED,
            interpolation=_BICUBIC | _ACCURATE,
        )
        frame.pts, frame.time_base = pts, Fraction(1, _TICKS)
        with self._translate_errors():
            self._failed = True
            self._mux(self._stream.encode(frame))
            if self._pieces is not None:
                self._pieces.mark()
            self._failed = False

    def close(self) -> None:
        """Complete the file, or leave what plays of it."""
        try:
            if self._failed:  # PyAV 19 crashes where an encoder that failed to open is flushed
                self._cut()
                with suppress(av.FFmpegError, OSError, ValueError):
                    self._container.close()
                    self.plays |= self._pieces is None
                return
            with self._translate_errors():
                self._mux(self._stream.encode(None))
                self._container.close()
                if self._pieces is not None:
                    self._pieces.close()
            self.plays = True
        except UsageError:
            self._cut()
            raise

    def _cut(self) -> None:
        if self._pieces is not None:
            self._pieces.cut()
            self.plays = self._pieces.has_pieces

    def _mux(self, packets: Iterable[Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """Return an image in the size of the video: its edges repeated, or scaled where its source changed the size."""
        height, width = self._size_hw
        if (image.shape[0] + image.shape[0] % 2, image.shape[1] + image.shape[1] % 2) == self._size_hw:
            return _padded(image, self._size_hw, "edge")
        scale = min(height / image.shape[0], width / image.shape[1])
        size_hw = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        frame = self._scaler.reformat(frame, width=size_hw[1], height=size_hw[0], interpolation=_BICUBIC)
        return _padded(frame.to_ndarray(), self._size_hw, "constant")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else one_line(error)
            raise UsageError(f"{self._path}: the video cannot be written: {reason}") from error


def _padded(image: np.ndarray, size_hw: tuple[int, int], mode: Literal["edge", "constant"]) -> np.ndarray:
    """Return a contiguous image of that size, with rows below and columns to the right of the given one."""
    below, right = size_hw[0] - image.shape[0], size_hw[1] - image.shape[1]
    if below or right:
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode=mode)
    return np.ascontiguousarray(image)
