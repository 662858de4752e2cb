"""Annotated images: one a frame in a folder, or the one of a single image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import TracebackType

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.sinks.locked_folder import LockedFolder
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_all, write_atomic, write_errors

WRITTEN_SUFFIXES = (".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # others get .png behind theirs
_MAX_NAME_BYTES = 240  # a name that is not UTF-8 grows to four times its length, and Linux takes 255


class ImageFolder(LockedFolder):
    """Sink that writes annotated images into a folder, under the file names of the frames.

    The folder is locked against other runs that write images into it.
    """

    def __init__(self, folder: Path, sources: Iterable[Path] = ()) -> None:
        """Create the folder.

        Args:
            folder: where the images go.
            sources: files that frames are read from, and which are not to be overwritten.

        Raises:
            UsageError: the folder cannot be created, or another run is writing to it.
        """
        super().__init__(folder, "--out")
        self._sources = file_ids(sources)
        self._names: set[str] = set()
        self._frame: tuple[int, Path] | None = None  # index and path of the last one

    def path(self, frame: Frame) -> Path:
        """Return the file that a frame is written to; frames come one after the other."""
        if self._frame is None or self._frame[0] != frame.index:
            self._frame = frame.index, self._folder / self._name(frame)
        return self._frame[1]

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write one image.

        Raises:
            UsageError: it would overwrite a source, cannot be written, or is too large for its format.
        """
        if annotated is None:
            return
        path = self.path(frame)
        refuse_overwriting(path, self._sources)
        # Waiting for the disk after each frame would set the frame rate.
        write_atomic(path, encode_image(path, annotated), durable=False, guard=write_errors)

    def _name(self, frame: Frame) -> str:
        source = Path(frame.name or f"frame-{frame.index:06}.png")
        is_image = source.suffix.lower() in WRITTEN_SUFFIXES
        stem, suffix = source.stem, source.suffix if is_image else source.suffix + ".png"
        if len(os.fsencode(stem + suffix)) > _MAX_NAME_BYTES:
            stem = f"{stem[:60]}-{sha256(os.fsencode(source.name)).hexdigest()[:8]}"
            suffix = source.suffix if is_image else ".png"
        # Images of different folders may have the same name.
        name, number = stem + suffix, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._names.add(name)
        return name


class SingleImage:
    """Sink that writes the annotated image of a source that has one."""

    may_wait = False
    kept = None  # written at once

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        """Claim the file; the suffix chooses the format.

        Args:
            path: the file.
            sources: files that frames are read from, and which are not to be overwritten.

        Raises:
            UsageError: the file cannot be written, is one of `sources`, or another run is writing it.
        """
        self._file, self._written = GrowingFile(path, sources), False

    def path(self, frame: Frame) -> Path:
        """Return the file that a frame is written to."""
        return self._file.path

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write the image; raises UsageError for a second one, and where it cannot be written."""
        if annotated is None:
            return
        if self._written:
            raise UsageError(f"--out {self._file.path}: {frame.name} has several images; wanted a folder")
        data = encode_image(self._file.path, annotated)
        with write_errors(self._file.path), self._file.open() as file:
            write_all(file, data)
        self._written = True

    def __enter__(self) -> SingleImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the image in place; it is complete, however the run ends."""
        self._file.end(None, usable=self._written)


def encode_image(path: Path, image: np.ndarray) -> bytes:
    """Return the (H, W, 3) uint8 BGR image as a file of the format that the suffix of `path` names.

    Raises:
        UsageError: it is too large for the format.
    """
    import cv2

    try:
        encoded, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        encoded = False
    if not encoded:
        height, width = image.shape[:2]
        raise UsageError(f"{path}: {width} x {height} pixels cannot be written as {path.suffix}")
    return data.tobytes()
