"""A file that grows over a run under a temporary name, locked against other runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from nanoseg.errors import UsageError
from nanoseg.sinks.sink import is_clean_end
from nanoseg.utils.files import file_ids, move_into_place, part_path, refuse_overwriting, write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.locks import lock_output
from nanoseg.utils.output_path import follow_links


class GrowingFile:
    """`out/a.mp4`, written as `out/a.part.mp4` and renamed at the end of the run.

    The lock lies on the temporary file itself, so that no file for it is left behind. A writer may open `part` again
    by its name. What a symbolic link leads to is written so, and the link stays. A pipe, a device or an open descriptor
    (/dev/stdout) is written directly, without a lock, as a rename would replace it by a file.
    """

    def __init__(self, path: Path, sources: Iterable[Path] = (), flag: str = "--out") -> None:
        """Create the folder and the temporary file.

        Args:
            path: the file.
            sources: files that frames are read from, and which are not to be overwritten.
            flag: the flag that names the file, for messages.

        Raises:
            UsageError: the file cannot be written, is one of `sources`, or another run is writing it.
        """
        with write_errors(path):
            if path.is_dir():
                raise UsageError(f"{path}: cannot be written: it is a folder")
            self._output = follow_links(path)
        refuse_overwriting(path, file_ids(sources))
        self.path, self.part = path, path
        self.kept: Path | None = None  # the temporary file of a run that failed, where its content is of use
        self._descriptor: int | None = None
        if not self._output.direct:
            make_output_folder(self._output.path.parent)
            self.part = part_path(path)
            with write_errors(path):
                self._descriptor = lock_output(self.part, path, flag)
                os.truncate(self._descriptor, 0)

    def open(self) -> IO[bytes]:
        """Open the temporary file, or what is written directly, for writing, unbuffered; raises OSError."""
        return self._output.open() if self._descriptor is None else self.part.open("wb", buffering=0)

    def end(self, kind: type[BaseException] | None, *, usable: bool) -> None:
        """Rename the file, which its writer has closed, or keep it under its temporary name, or remove it.

        Args:
            kind: the class of the exception that ends the run, or None.
            usable: whether the content is complete up to the last frame, and there is one. Otherwise the file is
                removed, and that of an earlier run stays.

        Raises:
            UsageError: it cannot be renamed.
        """
        if self._descriptor is None:
            return
        try:
            if not usable:
                with suppress(OSError):
                    self.part.unlink()
            elif is_clean_end(kind):
                self.kept = self.part
                with write_errors(self.path):
                    move_into_place(self.part, self.path)
                self.kept = None
            else:
                self.kept = self.part
        finally:
            if self.kept is not None and not os.path.exists(self.kept):  # its folder was removed
                self.kept = None
            os.close(self._descriptor)
            self._descriptor = None
