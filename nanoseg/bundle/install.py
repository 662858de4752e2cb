"""Checks of the folder that a bundle is installed in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nanoseg.bundle.manifest import MANIFEST
from nanoseg.errors import UsageError
from nanoseg.utils.files import write_errors
from nanoseg.utils.folders import try_folder
from nanoseg.utils.leftovers import WORK, BusyError, exclusive_folder

ADVICE = "choose another --out"


def previous_path(out: Path) -> Path:
    """Return the path of the bundle that the one at `out` replaced."""
    return out.with_name(f"{out.name}.previous")


@contextmanager
def bundle_scratch(out: Path) -> Iterator[Path]:
    """Create the folder that a bundle for `out`, an absolute path, is made in; deleted afterwards.

    What killed processes left there is finished or undone, and deleted.

    Raises:
        UsageError: another process makes or restores this bundle, or the folder cannot be created.
    """
    with ExitStack() as stack:
        try:
            with write_errors(out, ADVICE):
                scratch = stack.enter_context(exclusive_folder(out, previous_path(out)))
        except BusyError as error:
            raise UsageError(f"{out}: another process is making this bundle; wait until it has ended") from error
        (scratch / WORK).mkdir()
        yield scratch


def check_install_folder(out: Path) -> None:
    """Check that a bundle can be put at `out`, an absolute path; leaves nothing behind.

    Raises:
        UsageError: something other than a bundle is there, or the folder cannot be written.
    """
    with write_errors(out, ADVICE):
        if not _can_replace(out):
            raise UsageError(f"{out}: wanted a bundle to replace, or nothing, got something else; {ADVICE}")
        for path in (out, previous_path(out)):
            with suppress(FileNotFoundError):
                path.lstat()  # raises where the name is too long
        if not _can_replace(previous_path(out)):
            raise UsageError(
                f"{previous_path(out)}: wanted the replaced bundle or nothing there, got something else; move it away"
            )
        try_folder(out.parent)


def _can_replace(path: Path) -> bool:
    return not os.path.lexists(path) or (path / MANIFEST).is_file()
