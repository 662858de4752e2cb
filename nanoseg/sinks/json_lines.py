"""JSON lines: one record a frame, to a file or to stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.sinks.records import record
from nanoseg.sinks.sink import is_clean_end
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, move_into_place, part_path, refuse_overwriting, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.names import encode_json


class JsonLines:
    """Sink that writes one JSON record a frame; see nanoseg.sinks.records."""

    def __init__(self, path: str | Path, sources: Iterable[Path] = ()) -> None:
        """Open the file, or stdout for `-`.

        Args:
            path: the file; a pipe or device is written directly.
            sources: files that frames are read from, and which are not to be overwritten.

        Raises:
            UsageError: the file cannot be written, or is one of `sources`.
        """
        self._path = self._part = Path(path)
        self._lines = 0
        if str(path) == "-":
            self._file: BinaryIO = sys.stdout.buffer
            return
        if self._path.is_dir():
            raise UsageError(f"{path}: cannot be written: it is a folder")
        refuse_overwriting(self._path, file_ids(sources))
        make_output_folder(self._path.parent)
        # A pipe or /dev/null is written directly: a rename would replace it by a file.
        if self._path.is_file() or not self._path.exists():
            self._part = part_path(self._path)
        with write_errors(path):
            self._file = self._part.open("wb")

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None = None) -> None:
        """Write one line.

        Raises:
            UsageError: the disk is full or fails.
            BrokenPipeError: the reader of stdout or of the pipe has closed it.
        """
        with write_errors(self._path):
            self._file.write(encode_json(record(frame, detections)) + b"\n")
            self._file.flush()  # the file may be followed while it grows
        self._lines += 1

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is sys.stdout.buffer:
            return
        with write_errors(self._path):
            self._file.close()
        if self._part == self._path:
            return
        if kind is not None and not self._lines:
            self._part.unlink()  # no frame was processed, so the results of an earlier run stay
        elif is_clean_end(kind):
            with write_errors(self._path):
                move_into_place(self._part, self._path)
