"""The sinks of a run: by its options, the outputs that they name and what the source gives."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanoseg.errors import UsageError
from nanoseg.sinks.images import WRITTEN_SUFFIXES, ImageFolder, SingleImage
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.sink import Sink
from nanoseg.sources.source import Source
from nanoseg.types import Frame
from nanoseg.utils.urls import redact_urls

VIDEO_SUFFIXES = (".m4v", ".mkv", ".mov", ".mp4")
# Those of a folder, such as `run.2`, are none of these; the machine's own list is not asked.
_FILE_TYPES = mimetypes.MimeTypes()


def _is_url(text: str) -> bool:
    """Return whether a path is a URL, whose two slashes Path makes one, and not in a folder that is called so."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None and not Path(text.partition("/")[0]).is_dir()


@dataclass(frozen=True)
class Outputs:
    """What a run writes, checked against its source."""

    source: Source
    name: str  # of the source, without suffix
    out: Path | None = None  # annotated: a folder, or one file
    results: str | None = None  # a file, a folder, or - for stdout
    show: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for an output that is a URL or empty, and for an `out` that the source does not give.

        Raises DependencyError where videos cannot be written.
        """
        if self.results == "":
            raise UsageError("--results is empty; wanted a file, a folder with a slash at its end, or -")
        for flag, output in (("--out", self.out), ("--results", self.results)):
            if output is not None and _is_url(str(output)):
                raise UsageError(f"{flag} {redact_urls(str(output))}: wanted a file or a folder, got a URL")
        if self.out is not None and self._is_file():
            self._check_file(self.out)
        if self.annotated is not None and self.source.fps is not None:
            from nanoseg.sinks import video  # noqa: F401 - a library that it lacks is named before the bundle is loaded

    def _check_file(self, out: Path) -> None:
        if self.source.fps is not None:
            if out.suffix.lower() not in VIDEO_SUFFIXES:
                kinds = " ".join(VIDEO_SUFFIXES)
                raise UsageError(f"--out {out}: wanted a folder or a video ({kinds}), as the source is a video")
        elif out.suffix.lower() not in WRITTEN_SUFFIXES:
            kinds = " ".join(WRITTEN_SUFFIXES)
            raise UsageError(f"--out {out}: wanted a folder or an image ({kinds}), as the source has images")
        elif self.source.count not in (1, None):
            raise UsageError(f"--out {out}: the source has {self.source.count} images; wanted a folder")

    @property
    def annotated(self) -> Path | None:
        """The folder of annotated images, or the one image or video."""
        if self.out is None or self.source.fps is None or self._is_file():
            return self.out
        return self.out / f"{self.name}.mp4"

    def sinks(self, labels: Sequence[str]) -> Iterator[Sink]:
        """Yield the sinks one by one, each claiming its output; the window comes last.

        Args:
            labels: names of the classes, for datasets.
        """
        images: SingleImage | ImageFolder | None = None
        if self.results is not None:
            # The images are claimed after the results, whose records name them.
            named = self.annotated is not None and self.source.fps is None
            yield self.results_sink(labels, (lambda frame: images.path(frame) if images else Path()) if named else None)
        if self.annotated is not None:
            if self.source.fps is None:
                images = (SingleImage if self._is_file() else ImageFolder)(self.annotated, self.source.paths)
                yield images
            else:
                from nanoseg.sinks.video import Video

                yield Video(self.annotated, self.source.fps, self.source.paths, self.source.video)
        if self.show:
            from nanoseg.sinks.window import Window

            yield Window(alone=self.out is None and self.results is None)

    @property
    def is_dataset(self) -> bool:
        """Whether the results are a COCO file or YOLO's labels, not JSON lines."""
        return self._wants_labels() or Path(str(self.results)).suffix.lower() == ".json"

    def results_sink(self, labels: Sequence[str], image_path: Callable[[Frame], Path] | None) -> Sink:
        """Return the sink of the results, which claims its output.

        Args:
            labels: names of the classes, for datasets.
            image_path: returns the file of a frame's annotated image, for its record.
        """
        results = str(self.results)
        if results != "-" and self.is_dataset:
            from nanoseg.sinks.datasets import CocoFile, YoloFolder

            kind = YoloFolder if self._wants_labels() else CocoFile
            return kind(Path(results), labels, self.source, self.name)
        return JsonLines(results, self.source.paths, image_path)

    def _wants_labels(self) -> bool:
        results = str(self.results)
        return results.endswith("/") or Path(results).is_dir()

    def _is_file(self) -> bool:
        if self.out is None or self.out.is_dir():
            return False
        suffix = self.out.suffix.lower()
        return suffix in (*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES) or suffix in _FILE_TYPES.types_map[True]
