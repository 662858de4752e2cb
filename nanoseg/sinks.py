"""Where results go: JSON lines, annotated pictures.

Everything is written under a name with `.part` in it and renamed at the end, so that nothing half-written ever has
the final name. What was written until Ctrl-C, or until the source gave out, is whole and keeps its place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import msgspec
import numpy as np

from nanoseg.errors import SourceError, UsageError
from nanoseg.records import record
from nanoseg.types import Detections, Frame


class Enough(Exception):  # noqa: N818 - nothing went wrong
    """Raised by a sink whose reader has seen enough: the run ends, all is well."""


# Ends before their time after which what is there is still good.
_GOOD_ENDS = (Enough, KeyboardInterrupt, SourceError, BrokenPipeError)


class Sink(Protocol):
    """Takes one frame after the other; leaving its `with` block puts the files in place."""

    def write(self, frame: Frame, found: Detections, painted: np.ndarray | None) -> None:
        """`painted` is the frame with what was found drawn on it, where somebody asked for it."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def keeps(kind: type[BaseException] | None) -> bool:
    """Whether what was written is to be put in place after this end."""
    return kind is None or issubclass(kind, _GOOD_ENDS)


def part_name(path: Path) -> Path:
    """`out/a.mp4` -> `out/a.part.mp4`: the suffix stays, as writers choose the format by it."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def make_folder(folder: Path) -> None:
    """Make an output folder and its parents; raises UsageError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made a folder to write to: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """A file's whole content in one step."""
    part = part_name(path)
    part.write_bytes(data)
    os.replace(part, path)


def refuse_overwriting(path: Path, sources: Iterable[str]) -> None:
    """Raise UsageError where `path` is one of the files that frames are read from."""
    for source in sources:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise UsageError(f"{path}: would be written over its own source; give --out another folder")


class JsonLines:
    """One record a line, to a file, or to stdout for `-`; see nanoseg.records."""

    def __init__(self, path: str | Path) -> None:
        """Raises UsageError where the file cannot be written."""
        self._path = Path(path)
        self._part = part_name(self._path)
        if str(path) == "-":
            self._file: BinaryIO = sys.stdout.buffer
            self._part = self._path
            return
        make_folder(self._path.parent)
        # A pipe or /dev/null is written as it is: a rename would put a file in its place.
        if self._path.exists() and not self._path.is_file() and not self._path.is_dir():
            self._part = self._path
        try:
            if self._path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            self._file = self._part.open("wb")
        except OSError as error:
            raise UsageError(f"{path}: results cannot be written there: {error.strerror}") from error

    def write(self, frame: Frame, found: Detections, painted: np.ndarray | None = None) -> None:
        self._file.write(msgspec.json.encode(record(frame, found)) + b"\n")
        self._file.flush()  # somebody may be reading along

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is sys.stdout.buffer:
            return
        self._file.close()
        if self._part != self._path and keeps(kind):
            os.replace(self._part, self._path)


class Pictures:
    """Annotated pictures in a folder, under the names they were read by, each put in place when it is whole."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where there can be no such folder."""
        make_folder(folder)
        self._folder = folder
        self._taken: set[str] = set()

    def write(self, frame: Frame, found: Detections, painted: np.ndarray | None) -> None:
        """Raises UsageError where it would go over its own source, or be too large for its format."""
        if painted is None:
            return
        import cv2

        path = self._folder / self._name(frame)
        refuse_overwriting(path, [frame.name])
        try:
            good, data = cv2.imencode(path.suffix, painted)
        except cv2.error:
            good = False
        if not good:
            height, width = frame.size_hw
            raise UsageError(f"{path}: {width} x {height} pixels cannot be written as {path.suffix}")
        write_whole(path, data.tobytes())

    def _name(self, frame: Frame) -> str:
        from nanoseg.sources.files import IMAGE_SUFFIXES

        source = Path(frame.name or f"frame-{frame.index:06}.png")
        suffix = source.suffix if source.suffix.lower() in IMAGE_SUFFIXES else source.suffix + ".png"
        # Pictures of different folders may have one name.
        name, number = source.stem + suffix, 1
        while name in self._taken:
            number += 1
            name = f"{source.stem}-{number}{suffix}"
        self._taken.add(name)
        return name

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every picture is in place already."""
