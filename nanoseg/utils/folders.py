"""Folders: temporary ones, replacing one by another, and whether files can be created in one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nanoseg.errors import UsageError


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Create a hidden folder beside `path`, on the same file system, and delete it with its content afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=hidden_prefix(path), dir=path.parent) as folder:
        yield Path(folder)


def replace_folder(new: Path, path: Path, backup: Path) -> None:
    """Rename folder `new` to `path`; the folder that was there becomes `backup`, and an older backup is deleted.

    Raises:
        OSError: all folders are where they were.
    """
    _sync_tree(new)
    if not os.path.lexists(path):
        os.rename(new, path)
        sync_folder(path.parent)
        return
    # Not temporary_folder: it would delete a folder that could not be moved back.
    aside = Path(tempfile.mkdtemp(prefix=hidden_prefix(path), dir=path.parent))
    older = [(backup, aside / backup.name)] if os.path.lexists(backup) else []
    try:
        _rename_all(*older, (path, backup), (new, path))
    except BaseException:
        _remove_if_empty(aside)
        raise
    sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def swap_folders(path: Path, backup: Path) -> None:
    """Exchange the names of two folders; where `path` does not exist, `backup` becomes it.

    Raises:
        OSError: both folders are where they were.
    """
    if not os.path.lexists(path):
        os.rename(backup, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=hidden_prefix(path), dir=path.parent))
    held = aside / path.name
    try:
        _rename_all((path, held), (backup, path), (held, backup))
    finally:
        _remove_if_empty(aside)
    sync_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Raise OSError where no file can be created in `folder`; leaves nothing behind, not even the folder."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    finally:
        for parent in missing:
            _remove_if_empty(parent)


def make_output_folder(folder: Path) -> None:
    """Create an output folder and its parents; raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made a folder to write to: {error.strerror}") from error


def hidden_prefix(path: Path) -> str:
    """Return what temporary names beside `path` begin with."""
    return f".{path.name[:40]}."  # cut, as file systems limit a name to 255 bytes


def sync_file(file: BinaryIO) -> None:
    """Wait until a file's content is on the disk; without it a power cut may leave the name and no content."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename_all(*moves: tuple[Path, Path]) -> None:
    """Do all of these renames, or none of them."""
    started = []
    try:
        for source, target in moves:
            started.append((source, target))
            os.rename(source, target)
    except BaseException:
        # Whether the last one happened is read from the disk, as Ctrl-C may come right after it.
        for source, target in reversed(started):
            if os.path.lexists(target) and not os.path.lexists(source):
                os.rename(target, source)
        raise


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                sync_file(file)
    sync_folder(folder)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is gone, or holds what could not be moved back: better kept there than lost
        os.rmdir(folder)
