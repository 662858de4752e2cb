"""Decoded video frames to upright BGR pixels: deinterlaced, converted by the stream's own matrix and range, rotated."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from nanoseg.errors import needs, one_line
from nanoseg.utils.video_colour import BT470BG, BT709, scaler_matrix

with needs("PyAV", "video"):
    import av
    from av import VideoFrame
    from av.filter import Graph
    from av.sidedata.sidedata import SideDataContainer
    from av.video.reformatter import VideoReformatter

_LIMITED, _FULL = 1, 2  # AVColorRange
_BICUBIC = 4
_ONE = 1 << 16  # 1.0 in a display matrix


class ConversionError(ValueError):
    """Frames of a kind that FFmpeg's scaler or deinterlacer does not take."""


@dataclass(frozen=True)
class Times:
    """When a frame is shown, in its stream's clock."""

    pts: int | None
    duration: int  # 0 where the stream does not say
    time_base: Fraction


class Deinterlacer:
    """Deinterlace the interlaced frames of a stream, one frame out for each in; progressive ones pass unchanged.

    It works from the first interlaced frame on, as each frame through it waits for the next one.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.used = False
        self._time_base = time_base
        self._graph: Graph | None = None
        self._format: tuple[int, int, str] | None = None
        self._extra = 0  # frames that come out and are not among those that wait
        self._waiting: deque[Times] = deque()

    def run(
        self, frames: Iterable[VideoFrame], is_interlaced: Callable[[VideoFrame], bool]
    ) -> Iterator[tuple[VideoFrame, Times]]:
        """Yield the frames of a stream, with their times.

        Raises:
            ConversionError: FFmpeg's filter does not take them.
        """
        for frame in frames:
            with _refusals(frame.format.name):
                yield from self._push(frame, is_interlaced(frame))
        with _refusals(self._format[2] if self._format else "an unknown kind"):
            yield from self._flush()

    def _push(self, frame: VideoFrame, interlaced: bool) -> Iterator[tuple[VideoFrame, Times]]:
        times = Times(frame.pts, frame.duration or 0, self._time_base)
        form = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and form != self._format:
            yield from self._flush()
        if self._graph is None:
            if not interlaced:
                yield frame, times
                return
            self._graph, self._format, self.used = _deinterlacing_graph(frame, self._time_base), form, True
            # Once more, as its own predecessor: without one the lines between are guessed from the one field alone.
            self._graph.push(frame)
            self._extra = 1
        self._waiting.append(times)
        self._graph.push(frame)
        yield from self._pull()

    def _flush(self) -> Iterator[tuple[VideoFrame, Times]]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = None

    def _pull(self) -> Iterator[tuple[VideoFrame, Times]]:
        assert self._graph is not None
        while self._waiting:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):  # it wants another frame, or was flushed
                return
            if self._extra:
                self._extra -= 1
            elif isinstance(frame, VideoFrame):
                yield frame, self._waiting.popleft()


class Converter:
    """Convert decoded frames to upright BGR pixels."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def to_bgr(self, frame: VideoFrame) -> np.ndarray:
        """Return (H, W, 3) uint8, BGR; transparency is dropped.

        Raises:
            ConversionError: FFmpeg's scaler does not take its pixels.
        """
        with _refusals(frame.format.name):
            return self._to_bgr(frame)

    def _to_bgr(self, frame: VideoFrame) -> np.ndarray:
        if frame.format.is_rgb:
            return _oriented(self._reformatter.reformat(frame, format="bgr24").to_ndarray(), display_matrix(frame))
        name = frame.format.name
        # FFmpeg writes grey in full range, and says so in none of its formats.
        full_range = frame.color_range == _FULL or name.startswith("yuvj") or (not frame.color_range and "gray" in name)
        matrix = scaler_matrix(frame.colorspace, (frame.width, frame.height))
        bgr = self._reformatter.reformat(
            frame,
            format="bgr24",
            src_colorspace=matrix,
            # Another, which BGR does not have: of two equal ones PyAV takes none, and the scaler BT.601.
            dst_colorspace=BT709 if matrix != BT709 else BT470BG,
            src_color_range=_FULL if full_range else _LIMITED,
            dst_color_range=_FULL,
            interpolation=_BICUBIC,
            threads=1,  # the scaler's own take longer to wake than it takes for a frame
        )
        return _oriented(bgr.to_ndarray(), display_matrix(frame))


@contextmanager
def _refusals(pixels: str) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise ConversionError(f"frames of {pixels} cannot be converted: {one_line(error)}") from error


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Return a, b, c and d of a frame's display matrix, x' = ax + cy and y' = bx + dy; None where it has none."""
    try:
        # Not `frame.side_data`: it and the frame refer to each other, and keep the pixels of a hundred frames waiting
        # for the garbage collector.
        side_data: Mapping[str, bytes] = SideDataContainer(frame)  # type: ignore[call-arg]
        data = bytes(side_data["DISPLAYMATRIX"])
    except (
        KeyError,
        ValueError,
    ):  # PyAV raises ValueError where a frame has side data of a kind that it has no name for
        return None
    a, b, _, c, d = struct.unpack_from("=5i", data)
    return a, b, c, d


def turned(matrix: tuple[int, int, int, int] | None) -> bool:
    """Return whether a display matrix exchanges width and height."""
    return matrix is not None and abs(matrix[1]) == abs(matrix[2]) == _ONE


def _oriented(image: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    if matrix is None:
        return image
    a, b, c, d = matrix
    if turned(matrix):
        image, flip_x, flip_y = image.transpose(1, 0, 2), c < 0, b < 0
    elif abs(a) == abs(d) == _ONE:
        flip_x, flip_y = a < 0, d < 0
    else:  # another angle than a right one
        return image
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _deinterlacing_graph(frame: VideoFrame, time_base: Fraction) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    # Of motion JPEG the decoder does not say which frames are; it puts the first of two pictures into the lower field.
    which = "interlaced" if frame.interlaced_frame else "all:parity=bff"
    deinterlacer, sink = graph.add("bwdif", f"mode=send_frame:deint={which}"), graph.add("buffersink")
    source.link_to(deinterlacer)
    deinterlacer.link_to(sink)
    graph.configure()
    return graph
