"""Where results go: JSON lines, annotated pictures.

Everything is written under a name with `.part` in it and renamed at the end, so that nothing half-written ever has
the final name. What was written until Ctrl-C, or until the source gave out, is whole and keeps its place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

import msgspec
import numpy as np

from nanoseg.errors import SourceError, UsageError
from nanoseg.sinks.records import record
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


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Make a UsageError, which names the file, of what the system has against writing it."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has seen enough
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_whole(path: Path, data: bytes) -> None:
    """A file's whole content in one step; raises UsageError where it cannot be written."""
    write_all({path: data})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Files that belong together, by their paths: all are whole on disk before the first is put in place.

    Raises UsageError where one cannot be written; of those not yet in place nothing is left.
    """
    try:
        for path, data in files.items():
            with writing(path):
                part_name(path).write_bytes(data)
        for path in files:
            with writing(path):
                os.replace(part_name(path), path)
    except BaseException:
        for path in files:
            with suppress(OSError):
                part_name(path).unlink(missing_ok=True)
        raise


def file_ids(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """What tells files apart whatever name they go by, of those that exist."""
    ids = set()
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            ids.add((found.st_dev, found.st_ino))
    return ids


def refuse_overwriting(path: Path, sources: set[tuple[int, int]]) -> None:
    """Raise UsageError where `path`, or the name it is written under first, is one of the files `sources`."""
    if file_ids([path, part_name(path)]) & sources:
        raise UsageError(f"{path}: would be written over a file that frames are read from; give another name or folder")


class JsonLines:
    """One record a line, to a file, or to stdout for `-`; see nanoseg.sinks.records."""

    def __init__(self, path: str | Path, sources: Iterable[Path] = ()) -> None:
        """Raises UsageError where the file cannot be written, or is one of `sources`."""
        self._path = self._part = Path(path)
        self._lines = 0
        if str(path) == "-":
            self._file: BinaryIO = sys.stdout.buffer
            return
        if self._path.is_dir():
            raise UsageError(f"{path}: cannot be written: it is a folder")
        refuse_overwriting(self._path, file_ids(sources))
        make_folder(self._path.parent)
        # A pipe or /dev/null is written as it is: a rename would put a file in its place.
        if self._path.is_file() or not self._path.exists():
            self._part = part_name(self._path)
        with writing(path):
            self._file = self._part.open("wb")

    def write(self, frame: Frame, found: Detections, painted: np.ndarray | None = None) -> None:
        """Raises UsageError where there is no room left, BrokenPipeError where nobody reads any more."""
        with writing(self._path):
            self._file.write(msgspec.json.encode(record(frame, found)) + b"\n")
            self._file.flush()  # somebody may be reading along
        self._lines += 1

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is sys.stdout.buffer:
            return
        with writing(self._path):
            self._file.close()
        if self._part == self._path:
            return
        if kind is not None and not self._lines:
            self._part.unlink()  # nothing was done, so what an earlier run left stays
        elif keeps(kind):
            with writing(self._path):
                os.replace(self._part, self._path)


class Pictures:
    """Annotated pictures in a folder, under the names they were read by, each put in place when it is whole."""

    def __init__(self, folder: Path, sources: Iterable[Path] = ()) -> None:
        """`sources` are the files that are not to be written over. Raises UsageError where there can be no folder."""
        make_folder(folder)
        self._folder, self._sources = folder, file_ids(sources)
        self._taken: set[str] = set()

    def write(self, frame: Frame, found: Detections, painted: np.ndarray | None) -> None:
        """Raises UsageError where it would go over a source, cannot be written, or is too large for its format."""
        if painted is None:
            return
        import cv2

        path = self._folder / self._name(frame)
        refuse_overwriting(path, self._sources)
        try:
            good, data = cv2.imencode(path.suffix, painted)
        except cv2.error:
            good = False
        if not good:
            height, width = frame.size_hw
            raise UsageError(f"{path}: {width} x {height} pixels cannot be written as {path.suffix}")
        write_whole(path, data.tobytes())

    def _name(self, frame: Frame) -> str:
        from nanoseg.sources.images import IMAGE_SUFFIXES

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
