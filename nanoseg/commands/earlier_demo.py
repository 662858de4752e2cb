"""What an earlier demo left in the output folder, so that the files of two demos do not mix."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.errors import NanosegError, UsageError
from nanoseg.utils.json_text import read_json
from nanoseg.utils.regular_file import open_regular
from nanoseg.utils.terminal import print_error

VIDEO, IMAGES, SHEET = "annotated.mp4", "annotated", "contact-sheet.png"
RESULTS, REPORT = "results.jsonl", "report.json"


class EarlierDemo:
    """The annotated files of the demo that wrote a folder's report.json, if there was one."""

    def __init__(self, folder: Path, source: str, bundle: str) -> None:
        """Read the folder, and state on stderr where its results are those of another source or bundle.

        Args:
            folder: the output folder of this demo.
            source: what this demo runs on, as report.json states it.
            bundle: the bundle that it runs.

        Raises:
            UsageError: the folder holds results that no demo wrote, and that this one would replace.
        """
        self._folder, self._images = folder, _images(folder)
        report = _read(folder / REPORT)
        if report is None:
            if (folder / RESULTS).is_file() or (folder / VIDEO).is_file():
                raise UsageError(f"{folder}: holds the results of another run; give another --out")
            return
        before = report.get("source", source), report.get("bundle", bundle)
        if before != (source, bundle):
            print_error(f"{folder}: replacing the results of another demo, of {before[0]} with {before[1]}")

    def remove_leftovers(self) -> None:
        """Remove the earlier demo's annotated files that this one, which is complete, has not replaced."""
        images = _images(self._folder)
        for path in self._images - images:
            with suppress(OSError):
                path.unlink()
        if images:
            with suppress(OSError):
                (self._folder / VIDEO).unlink()
        with suppress(OSError):  # files of the user's stay
            (self._folder / IMAGES).rmdir()


def _images(folder: Path) -> set[Path]:
    """Return the annotated images that the folder's results name."""
    images = set()
    with suppress(OSError), open_regular(folder / RESULTS) as lines:
        for line in lines:
            with suppress(msgspec.DecodeError, ValueError, KeyError, TypeError, RecursionError):
                images.add(folder / IMAGES / Path(msgspec.json.decode(line)["out"]).name)
    return images


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(NanosegError):
        report = read_json(path)
        if isinstance(report, dict) and "frames" in report:
            return report
    return None
