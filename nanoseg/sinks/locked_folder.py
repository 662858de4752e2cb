"""An output folder that one run at a time writes into."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from nanoseg.utils.files import write_errors
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.locks import lock_output

_Self = TypeVar("_Self", bound="LockedFolder")


class LockedFolder:
    """Base of sinks that write complete files into a folder, locked against other runs that do."""

    may_wait = False
    kept = None  # each file is complete when it is written

    def __init__(self, folder: Path, flag: str) -> None:
        """Create and lock the folder; raises UsageError where that fails, or another run is writing to it."""
        make_output_folder(folder)
        self._folder = folder
        with write_errors(folder):
            self._descriptor = lock_output(folder, folder, flag)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the folder."""
        with suppress(OSError):
            os.close(self._descriptor)
