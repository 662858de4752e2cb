"""JSON lines: one record a frame, to a file or to stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.sinks.records import record
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import write_all, write_errors
from nanoseg.utils.names import encode_json, printable_path
from nanoseg.utils.signals import uninterrupted


class JsonLines:
    """Sink that writes one JSON record a frame; see nanoseg.sinks.records."""

    def __init__(
        self, path: str | Path, sources: Iterable[Path] = (), image_path: Callable[[Frame], Path] | None = None
    ) -> None:
        """Open the file, or stdout for `-`.

        Args:
            path: the file; a pipe or device is written directly.
            sources: files that frames are read from, and which are not to be overwritten.
            image_path: returns the file that a frame's annotated image is written to, for the record's `out`.

        Raises:
            UsageError: the file cannot be written, is one of `sources`, or another run is writing it.
        """
        self._path, self._image_path = Path("stdout" if str(path) == "-" else path), image_path
        self._size, self._lines = 0, 0  # of the complete lines
        self._file = None if str(path) == "-" else GrowingFile(self._path, sources, "--results")
        # Unbuffered: the file may be followed while it grows.
        self._stream: Any = None if self._file else getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        self.may_wait = self._file is None or self._file.part == self._path

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left; it ends with a complete line."""
        return self._file.kept if self._file else None

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None = None) -> None:
        """Write one line.

        Raises:
            UsageError: the disk is full or fails.
            BrokenPipeError: the reader of stdout or of the pipe has closed it.
        """
        values = record(frame, detections)
        if self._image_path is not None:
            values["out"] = printable_path(self._image_path(frame))
        line = encode_json(values) + b"\n"
        with write_errors(self._path):
            write_all(self._stream, line)
        self._size += len(line)
        self._lines += 1

    def __enter__(self) -> JsonLines:
        if self._file is not None:
            with write_errors(self._path):  # a pipe waits here for its reader
                self._stream = self._file.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        usable = False
        with uninterrupted(), write_errors(self._path):
            try:
                if self._stream is not None:
                    self._stream.close()
                    if not self.may_wait:
                        os.truncate(self._file.part, self._size)  # without a line that a full disk has cut
                    usable = kind is None or self._lines > 0
            finally:
                self._file.end(kind, usable=usable)
