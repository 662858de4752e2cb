"""Annotated video: H.264, which every browser plays, where PyAV is installed, else MPEG-4 by OpenCV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.sinks.sink import is_clean_end
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, move_into_place, part_path, refuse_overwriting, write_errors
from nanoseg.utils.folders import make_output_folder

# One thread, as the segmenter needs the others. superfast takes two thirds of veryfast's time, for twice its size.
_X264 = {"preset": "superfast", "crf": "20", "threads": "1"}


class _Encoder(Protocol):
    def write(self, image: np.ndarray) -> None: ...
    def close(self) -> None: ...


class Video:
    """Sink that writes annotated frames, all of one size, to an mp4 file."""

    def __init__(self, path: Path, fps: float, sources: Iterable[Path] = ()) -> None:
        """Create the folder; the file is opened with the first frame.

        Args:
            path: the mp4 file.
            fps: frames a second.
            sources: files that frames are read from, and which are not to be overwritten.

        Raises:
            UsageError: the folder cannot be created, or the file is one of `sources`.
        """
        refuse_overwriting(path, file_ids(sources))
        make_output_folder(path.parent)
        self._path, self._fps = path, fps
        self._encoder: _Encoder | None = None  # opened with the first frame, whose size it takes

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write one frame; raises UsageError where the video cannot be written."""
        if annotated is None:
            return
        # Both codecs halve the resolution of colour, so width and height must be even.
        height, width = annotated.shape[:2]
        if height % 2 or width % 2:
            annotated = np.pad(annotated, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._encoder is None:
            self._encoder = _open(part_path(self._path), self._fps, (annotated.shape[1], annotated.shape[0]))
        self._encoder.write(annotated)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encoder is None:
            return
        self._encoder.close()
        if is_clean_end(kind):
            with write_errors(self._path):
                move_into_place(part_path(self._path), self._path)


def _open(path: Path, fps: float, size_wh: tuple[int, int]) -> _Encoder:
    try:
        return _PyAv(path, fps, size_wh)
    except ImportError:
        return _OpenCv(path, fps, size_wh)


class _PyAv:
    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int]) -> None:
        import av

        if "libx264" not in av.codecs_available:
            raise ImportError("this PyAV was built without libx264")
        self._av, self._path, self._encode_failed = av, path, False
        with self._translate_errors():
            # Absolute, because FFmpeg takes what precedes a colon for a protocol.
            # faststart: the index goes to the front, so that a browser can start before it has all of the file.
            self._container = av.open(str(path.absolute()), "w", options={"movflags": "faststart"})
            rate = Fraction(fps).limit_denominator(1001)
            self._stream: Any = self._container.add_stream("libx264", rate=rate, options=_X264)
        self._stream.width, self._stream.height = size_wh
        self._stream.pix_fmt = "yuv420p"

    def write(self, image: np.ndarray) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        with self._translate_errors():
            self._encode_failed = True
            self._container.mux(self._stream.encode(frame))
            self._encode_failed = False

    def close(self) -> None:
        with self._translate_errors():
            if not self._encode_failed:  # PyAV 19 crashes where an encoder that failed to open is flushed
                self._container.mux(self._stream.encode(None))
            self._container.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, OSError, ValueError) as error:
            raise UsageError(f"{self._path}: the video cannot be written: {error}") from error


class _OpenCv:
    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int]) -> None:
        import cv2

        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
        if not self._writer.isOpened():
            raise UsageError(f"{path}: a video cannot be written there, or this OpenCV has no encoder")

    def write(self, image: np.ndarray) -> None:
        self._writer.write(image)

    def close(self) -> None:
        self._writer.release()
