"""Folders: replacing one by another, and whether files can be created in one."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from nanoseg.errors import UsageError
from nanoseg.utils.exchange import exchange
from nanoseg.utils.leftovers import hidden_prefix, mark_replacing, mark_swapping
from nanoseg.utils.output_path import follow_links


def replace_folder(new: Path, path: Path, backup: Path) -> None:
    """Rename folder `new` to `path`; the folder that was there becomes `backup`, and an older backup is deleted.

    Where the file system can exchange two names there is a folder at `path` at any moment.

    Args:
        new: a folder in one of `exclusive_folder`, which gets what is not needed any more.
        path: its place.
        backup: the place of the one that was there.

    Raises:
        OSError: all folders are where they were.
    """
    _sync_tree(new)
    if not os.path.lexists(path):
        os.rename(new, path)
        sync_folder(path.parent)
        return
    mark_replacing(new, path)
    before = path.lstat().st_ino
    older = [(backup, new.parent / backup.name)] if os.path.lexists(backup) else []
    try:
        if exchange(new, path):
            _rename_all(*older, (new, backup))
        else:
            _rename_all(*older, (path, backup), (new, path))
    except BaseException:
        # Whether they are exchanged is read from the disk, as Ctrl-C may come right after it.
        if os.path.lexists(new) and os.path.lexists(path) and new.lstat().st_ino == before:
            exchange(new, path)
        raise
    sync_folder(path.parent)


def swap_folders(path: Path, backup: Path) -> None:
    """Exchange the names of two folders; where `path` does not exist, `backup` becomes it.

    Raises:
        OSError: both folders are where they were.
    """
    if not os.path.lexists(path):
        os.rename(backup, path)
    elif not exchange(path, backup):
        # Deleted only where it is empty: it may hold what could not be moved back.
        aside = Path(tempfile.mkdtemp(prefix=hidden_prefix(path), dir=path.parent))
        held, mark = aside / path.name, mark_swapping(aside)
        try:
            _rename_all((path, held), (backup, path), (held, backup))
        finally:
            if not os.path.lexists(held):
                mark.unlink()
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
    """Create an output folder, or the one that a symbolic link leads to, and its parents; raises UsageError."""
    try:
        follow_links(folder).path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made a folder to write to: {error.strerror}") from error


def sync_file(file: IO[bytes]) -> None:
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
