"""Annotated images in a folder, one a frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_atomic, write_errors
from nanoseg.utils.folders import make_output_folder

_WRITTEN_SUFFIXES = (".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # others get .png behind theirs


class ImageFolder:
    """Sink that writes annotated images into a folder, under the file names of the frames."""

    def __init__(self, folder: Path, sources: Iterable[Path] = ()) -> None:
        """Create the folder.

        Args:
            folder: where the images go.
            sources: files that frames are read from, and which are not to be overwritten.

        Raises:
            UsageError: the folder cannot be created.
        """
        make_output_folder(folder)
        self._folder, self._sources = folder, file_ids(sources)
        self._names: set[str] = set()

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None) -> None:
        """Write one image.

        Raises:
            UsageError: it would overwrite a source, cannot be written, or is too large for its format.
        """
        if annotated is None:
            return
        import cv2

        path = self._folder / self._name(frame)
        refuse_overwriting(path, self._sources)
        try:
            encoded, data = cv2.imencode(path.suffix, annotated)
        except cv2.error:
            encoded = False
        if not encoded:
            height, width = frame.size_hw
            raise UsageError(f"{path}: {width} x {height} pixels cannot be written as {path.suffix}")
        # Waiting for the disk after each frame would set the frame rate.
        write_atomic(path, data.tobytes(), durable=False, guard=write_errors)

    def _name(self, frame: Frame) -> str:
        source = Path(frame.name or f"frame-{frame.index:06}.png")
        suffix = source.suffix if source.suffix.lower() in _WRITTEN_SUFFIXES else source.suffix + ".png"
        # Images of different folders may have the same name.
        name, number = source.stem + suffix, 1
        while name in self._names:
            number += 1
            name = f"{source.stem}-{number}{suffix}"
        self._names.add(name)
        return name

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: each image is complete when it is written."""
