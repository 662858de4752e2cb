"""Results as a dataset: a COCO file, or labels in YOLO's form for segmentation, for tools that edit and train.

Written here and not by supervision, whose exporters take masks of whole frames in memory and simplify their outlines;
supervision, pycocotools and Ultralytics read both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np

from nanoseg.bundle.keypoints import KeypointSet
from nanoseg.errors import UsageError
from nanoseg.processing.polygons import join_polygons
from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.sinks.locked_folder import LockedFolder
from nanoseg.sources.source import Source
from nanoseg.types import Detections, Frame
from nanoseg.utils.files import file_ids, refuse_overwriting, write_all, write_atomic, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.names import encode_json, printable_path
from nanoseg.utils.signals import uninterrupted

SURE = 0.5  # confidence of a keypoint that is labelled


class CocoFile:
    """Sink that writes one COCO file of instances, with a score each; images are entered in the order of frames.

    It grows while the run goes on: the annotations are on the disk, the images in memory until the end. Keypoints that
    a bundle finds are visible ones where their confidence is SURE or more, else not labelled.
    """

    def __init__(self, path: Path, labels: Sequence[str], source: Source, name: str) -> None:
        """Claim the file.

        Args:
            path: the file; a pipe or device is written directly.
            labels: names of the classes; category k + 1 is class k.
            source: the source of the frames, whose files are not to be overwritten.
            name: name of the source, for frames of a video.

        Raises:
            UsageError: the file cannot be written, is one of the source's, or another run is writing it.
        """
        self._file = GrowingFile(path, source.paths, "--results")
        self.may_wait = self._file.part == path
        self._labels, self._image_name = labels, FrameNames(source, name)
        self._images: list[bytes] = []
        self._annotations = self._size = 0  # of what is written whole
        self._keypoints: KeypointSet | None = None
        self._stream: Any = None

    @property
    def kept(self) -> Path | None:
        """The temporary file that a failed run left; it is complete."""
        return self._file.kept

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None = None) -> None:
        """Write the objects of one frame; raises UsageError where the disk is full or fails."""
        self._keypoints = detections.keypoint_set or self._keypoints
        height, width = frame.size_hw
        image = {"id": len(self._images) + 1, "file_name": self._image_name(frame), "width": width, "height": height}
        entries = [self._entry(detections, index, image["id"]) for index in range(len(detections))]
        self._append(b"".join(entries))
        self._annotations += len(entries)
        self._images.append(encode_json(image))

    def _entry(self, detections: Detections, index: int, image_id: Any) -> bytes:
        left, top, right, bottom = (float(side) for side in detections.xyxy[index])
        mask = detections.masks.crop(index).mask
        number = self._annotations + index + 1
        entry = {
            "id": number,
            "image_id": image_id,
            "category_id": int(detections.class_id[index]) + 1,
            "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            "area": int(np.count_nonzero(mask)),
            "segmentation": [polygon.ravel().tolist() for polygon in detections.masks.polygons(index)],
            "iscrowd": 0,
            "score": round(float(detections.confidence[index]), 5),
        }
        if detections.track_id is not None and detections.track_id[index] >= 0:
            entry["track_id"] = int(detections.track_id[index])  # as in data sets of videos, such as TAO's
        if detections.keypoints is not None:
            rows = detections.keypoints[index].tolist()
            known = [[round(x, 2), round(y, 2), 2] if confidence >= SURE else [0, 0, 0] for x, y, confidence in rows]
            entry["keypoints"] = [number for row in known for number in row]
            entry["num_keypoints"] = sum(row[2] > 0 for row in known)
        return (b",\n" if number > 1 else b"") + encode_json(entry)

    def __enter__(self) -> CocoFile:
        with write_errors(self._file.path):  # a pipe waits here for its reader
            self._stream = self._file.open()
        self._append(b'{"annotations": [\n')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        usable = False
        with uninterrupted():
            try:
                if self._stream is not None and self.may_wait and kind is not None:
                    self._stream.close()
                elif self._stream is not None:
                    self._finish()
                    usable = kind is None or bool(self._images)
            except UsageError:
                if kind is None:
                    raise
            finally:
                self._file.end(kind, usable=usable)

    def _finish(self) -> None:
        keypoints: dict[str, Any] = {}
        if self._keypoints is not None:
            lines = [[first + 1, second + 1] for first, second in self._keypoints.skeleton]
            keypoints = {"keypoints": self._keypoints.names, "skeleton": lines}
        categories = [
            {"id": class_id + 1, "name": name, "supercategory": "none", **keypoints}
            for class_id, name in enumerate(self._labels)
        ]
        with write_errors(self._file.path), self._stream:
            if not self.may_wait:  # without what a full disk has cut
                self._stream.seek(self._size)
                self._stream.truncate()
            self._append(
                b'\n],\n"images": [\n%b\n],\n"categories": %b}\n' % (b",\n".join(self._images), encode_json(categories))
            )

    def _append(self, data: bytes) -> None:
        with write_errors(self._file.path):
            write_all(self._stream, data)
        self._size += len(data)


class YoloFolder(LockedFolder):
    """Sink that writes labels of segmentation in YOLO's form: data.yaml, and labels/NAME.txt for each frame.

    A line is an object: its class and one polygon in parts of the image's width and height. The parts of an object
    that is not connected are joined by seams, and holes are filled. The folder is locked against other runs.
    """

    def __init__(self, folder: Path, labels: Sequence[str], source: Source, name: str) -> None:
        """Create the folder.

        Args:
            folder: where data.yaml and the folder labels go.
            labels: names of the classes.
            source: the source of the frames.
            name: name of the source, for frames of a video.

        Raises:
            UsageError: the folder cannot be written, another run is writing to it, or two images would share labels.
        """
        self._labels, self._image_name = list(labels), FrameNames(source, name)
        self._sources = file_ids(source.paths)
        if source.fps is None:
            self._image_name.refuse_equal_stems(source)
        super().__init__(folder, "--results")

    def write(self, frame: Frame, detections: Detections, annotated: np.ndarray | None = None) -> None:
        """Write the labels of one frame; raises UsageError where that fails."""
        height, width = frame.size_hw
        lines = []
        for index in range(len(detections)):
            polygon = join_polygons(detections.masks.polygons(index))
            if not len(polygon):
                left, top, right, bottom = detections.xyxy[index]
                polygon = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
            numbers = np.clip(polygon / (width, height), 0, 1).ravel()
            lines.append(" ".join([str(int(detections.class_id[index])), *(f"{value:.6f}" for value in numbers)]))
        path = self._folder / "labels" / PurePath(self._image_name(frame)).with_suffix(".txt")
        make_output_folder(path.parent)
        self._write(path, "".join(f"{line}\n" for line in lines).encode())

    def _write(self, path: Path, data: bytes) -> None:
        refuse_overwriting(path, self._sources)
        write_atomic(path, data, durable=False, guard=write_errors)

    def __enter__(self) -> YoloFolder:
        """Write data.yaml; raises UsageError where that fails."""
        names = encode_json(self._labels)  # YAML reads JSON
        self._write(self._folder / "data.yaml", b"names: %b\nnc: %d\n" % (names, len(self._labels)))
        return self


class FrameNames:
    """Names of the frames' images: of files their path below the folder that holds all, of a video NAME-000007.png."""

    def __init__(self, source: Source, name: str) -> None:
        """Name the frames of a source; `name` is that of a video."""
        self._name, self._top = name, Path()
        self._is_video = source.fps is not None or not source.paths
        if not self._is_video:
            self._top = Path(os.path.commonpath([_printable(path).parent for path in source.paths]))
        self._used: set[str] = set()

    def __call__(self, frame: Frame) -> str:
        """Return the name of a frame's image, which no other frame has."""
        if self._is_video or not frame.name:
            return f"{self._name}-{frame.index:06}.png"
        name = wanted = self._relative(Path(frame.name))
        number = 1
        while name in self._used:
            number += 1
            name = str(PurePath(wanted).with_stem(f"{PurePath(wanted).stem}-{number}"))
        self._used.add(name)
        return name

    def refuse_equal_stems(self, source: Source) -> None:
        """Raise UsageError where two images differ by their suffix alone, and would share labels."""
        seen: dict[PurePath, Path] = {}
        for path in source.paths:
            other = seen.setdefault(PurePath(self._relative(path)).with_suffix(""), path)
            if other is not path and other.absolute() != path.absolute():
                raise UsageError(f"{path}: would share its labels with {other}; rename one of them")

    def _relative(self, path: Path) -> str:
        return os.path.relpath(_printable(path), self._top)


def _printable(path: Path) -> Path:
    return Path(printable_path(path.absolute()))  # as the names of frames are
