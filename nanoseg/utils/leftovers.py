"""Temporary folders beside a path: locked while their process lives, swept when it is dead.

A killed process leaves its folder. The next one that works at the same path finds it by name and content, sees by the
lock that nobody owns it, finishes or undoes a replacement that was cut off, and deletes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanoseg.utils.locks import HeldError, try_lock

_RANDOM = re.compile(r"[a-z0-9_]{8}")  # what tempfile appends to a prefix
WORK = ".work"  # a folder for whatever its owner needs
_REPLACING, _SWAPPING = "replacing-", "swapping"


class BusyError(Exception):
    """A living process works at the same path."""


def hidden_prefix(path: Path) -> str:
    """Return what temporary names beside `path` begin with."""
    return f".{path.name[:40]}."  # cut, as file systems limit a name to 255 bytes


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Create a hidden folder beside `path`, on the same file system, and delete it with its content afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _owned(_create(path)) as folder:
        yield folder


@contextmanager
def exclusive_folder(path: Path, backup: Path) -> Iterator[Path]:
    """Create a temporary folder as the only process that works at `path`, after sweeping what dead ones left.

    Args:
        path: what is to be replaced.
        backup: where a replaced one is kept.

    Raises:
        BusyError: another process works there.
        OSError: the folder cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _announcing(path):
        if not sweep(path, backup):
            raise BusyError
        created = _create(path)
    with _owned(created) as folder:
        yield folder


def sweep(path: Path, backup: Path) -> bool:
    """Finish, undo and delete what dead processes left beside `path`; return whether no living one works there."""
    free = True
    for folder in sorted(path.parent.glob(f"{_escape(hidden_prefix(path))}*")):
        if not _is_ours(folder, path, backup):
            continue
        try:
            descriptor = _lock(folder)
        except OSError:  # another user's, or a file system without locks: who lives is not known
            continue
        if descriptor is None:
            free = False
            continue
        try:
            _recover(folder, path, backup)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
    return free


def mark_replacing(new: Path, path: Path) -> None:
    """Note in the folder of `new` that it is about to be exchanged with `path`, for `sweep` after a kill."""
    (new.parent / f"{_REPLACING}{new.lstat().st_ino}-{path.lstat().st_ino}").touch()


def mark_swapping(folder: Path) -> Path:
    """Note in a temporary folder that it holds a folder which is to be put back; return the note."""
    mark = folder / _SWAPPING
    mark.touch()
    return mark


def _recover(folder: Path, path: Path, backup: Path) -> None:
    """Bring path and backup into the state before or after a replacement that was cut off; nothing is lost."""
    names = os.listdir(folder)
    held, older = folder / path.name, folder / backup.name
    with suppress(OSError):
        if _SWAPPING in names and held.exists():
            os.rename(held, backup if not os.path.lexists(backup) else path)
            return
        for name in names:
            if not name.startswith(_REPLACING):
                continue
            new, old = (int(number) for number in name.removeprefix(_REPLACING).split("-"))
            found = held.lstat().st_ino if os.path.lexists(held) else 0
            if found == old:  # exchanged, and not yet kept as the backup
                if os.path.lexists(backup):
                    os.rename(backup, folder / "replaced")
                os.rename(held, backup)
            elif found == new and not os.path.lexists(path):  # between two renames
                os.rename(held, path)
            elif not os.path.lexists(backup) and os.path.lexists(older):
                os.rename(older, backup)


def _is_ours(folder: Path, path: Path, backup: Path) -> bool:
    """Return whether a folder has the name and nothing but the content of a temporary folder of `path`."""
    if not _RANDOM.fullmatch(folder.name[len(hidden_prefix(path)) :]) or folder.is_symlink() or not folder.is_dir():
        return False
    try:
        names = set(os.listdir(folder)) - {path.name, backup.name, WORK, _SWAPPING, "replaced"}
    except OSError:
        return False
    return all(re.fullmatch(rf"{_REPLACING}\d+-\d+", name) for name in names)


def _create(path: Path) -> tuple[Path, int | None]:
    """Create a temporary folder and lock it; None where the file system has no locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=hidden_prefix(path), dir=path.parent))
        try:
            descriptor = _lock(folder)
        except OSError:
            return folder, None
        if descriptor is not None and folder.exists():
            return folder, descriptor
        if descriptor is not None:  # swept between the two steps
            os.close(descriptor)


@contextmanager
def _owned(created: tuple[Path, int | None]) -> Iterator[Path]:
    folder, descriptor = created
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Lock a folder; return the descriptor that holds the lock, None where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _announcing(path: Path) -> Iterator[None]:
    """Let one process at a time look for others at `path` and announce itself; raises BusyError in a second one.

    By a hidden file: the folder itself may be the output of a run, which locks it for as long as that takes.
    """
    lock = path.with_name(f"{hidden_prefix(path)}lock")
    try:
        descriptor = try_lock(lock)
    except HeldError as held:
        raise BusyError from held
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _escape(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)
