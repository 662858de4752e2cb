"""Atomic file writing: after an error, Ctrl-C or a power cut a file is either the new one or the old one, complete.

Everything is written under a temporary name beside its final one, flushed to the disk and renamed. A symbolic link
stays, and what it leads to is written so; pipes, devices and open descriptors (/dev/stdout) are written directly.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from nanoseg.errors import NanosegError, UsageError, os_reason
from nanoseg.utils.folders import sync_file, sync_folder, try_folder
from nanoseg.utils.leftovers import hidden_prefix, temporary_folder
from nanoseg.utils.output_path import OutputPath, follow_links

Guard = Callable[[Path], AbstractContextManager[object]]


@contextmanager
def write_errors(path: str | Path, advice: str = "", error: type[NanosegError] = UsageError) -> Iterator[None]:
    """Turn an OSError raised while `path` is written into a one-line error that names it.

    BrokenPipeError passes through: the reader of a pipe has closed it, which is no error of this program.

    Args:
        path: the file as the user knows it, not its temporary name.
        advice: what to do about it, the end of the message.
        error: the class to raise.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as cause:
        reason = os_reason(cause)
        raise error(f"{path}: cannot be written: {reason}" + (f"; {advice}" if advice else "")) from cause


def write_atomic(path: Path, data: bytes, *, durable: bool = True, guard: Guard = nullcontext) -> None:
    """Write a file's whole content, or leave the file as it was; see `write_all_atomic`."""
    write_all_atomic({path: data}, durable=durable, guard=guard)


def write_all_atomic(
    files: Mapping[Path, bytes], *, durable: bool = True, guard: Guard = nullcontext, replace_special: bool = False
) -> None:
    """Write files that belong together: all are complete on the disk before the first is renamed, in order.

    Args:
        files: content by path; the folders must exist.
        durable: wait for the disk, so that the files survive a power cut.
        guard: context manager around every operation on a file, to translate errors: `write_errors`.
        replace_special: replace a link, pipe or device, too: for a file that this program alone names.

    Raises:
        OSError: where `guard` lets it pass; files not yet renamed are as they were.
    """
    outputs, parts = {}, {}
    for path in files:
        with guard(path):
            outputs[path] = OutputPath(path, False, None) if replace_special else follow_links(path)
            if not outputs[path].direct:
                parts[path] = _temporary_path(outputs[path].path)
    try:
        for path, data in files.items():
            with guard(path), parts[path].open("wb") if path in parts else outputs[path].open() as file:
                write_all(file, data)
                if durable and path in parts:
                    sync_file(file)
        for path, part in parts.items():
            with guard(path):
                os.replace(part, outputs[path].path)
    except BaseException:
        for part in parts.values():
            _remove_file(part)
        raise
    if durable:
        for folder in {part.parent for part in parts.values()}:
            sync_folder(folder)


def write_all(stream: IO[bytes], data: bytes) -> None:
    """Write to a stream that may be unbuffered and take less at once; its closing then never waits for a reader."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `path` afterwards; for writers that want a path.

    Its name is that of `path`, in a hidden folder beside it, as torch.save writes the name into the file. After an
    error it is deleted and `path` is as it was.
    """
    with temporary_folder(scratch_path(path)) as folder:
        part = folder / path.name
        yield part
        move_into_place(part, path)


def scratch_path(path: Path) -> Path:
    """Return a path of the same name beside which temporary files of `path` can be renamed to it; raises OSError."""
    output = follow_links(path)
    return (Path(tempfile.gettempdir()) if output.direct else output.path.parent) / path.name


def part_path(path: Path) -> Path:
    """Return the name of a file that is still growing, `out/a.mp4` -> `out/a.part.mp4`; raises OSError.

    It lies beside what `path` leads to, may be read while it grows, and is kept where its writer fails. The suffix
    stays, as video writers choose the format by it.
    """
    target = follow_links(path).path
    return target.with_name(f"{target.stem}.part{path.suffix}")


def move_into_place(part: Path, path: Path) -> None:
    """Flush a complete file to the disk and rename it to `path`, or copy it where that cannot be; raises OSError."""
    output = follow_links(path)
    if output.direct:
        with part.open("rb") as source, output.open() as target:
            while data := source.read(1 << 20):
                write_all(target, data)
        part.unlink()
        return
    with part.open("rb") as file:
        sync_file(file)
    try:
        os.replace(part, output.path)
    except OSError as error:
        if error.errno != errno.EXDEV:  # `path` was a link to another file system
            raise
        beside = _temporary_path(output.path)
        try:
            shutil.copyfile(part, beside)
            with beside.open("rb") as file:
                sync_file(file)
            os.replace(beside, output.path)
        except BaseException:
            _remove_file(beside)
            raise
        part.unlink()
    sync_folder(output.path.parent)


def remove_leftovers(path: Path) -> None:
    """Delete temporary files of `path` that a killed process left; only for the holder of a lock on it."""
    for part in path.parent.glob(f"{glob.escape(hidden_prefix(path))}*.part"):
        _remove_file(part)


def check_writable(path: Path, flag: str = "--out") -> None:
    """Raise UsageError where the file `path` cannot be written; for use before long work, leaves nothing behind."""
    with write_errors(path, f"choose another {flag}"):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        output = follow_links(path)
        if not output.direct:
            try_folder(output.path.parent)


def file_ids(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """Return device and inode of the files that exist: equal for two names of one file."""
    ids = set()
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            ids.add((status.st_dev, status.st_ino))
    return ids


def refuse_overwriting(path: Path, sources: set[tuple[int, int]]) -> None:
    """Raise UsageError where `path`, or its `part_path`, is one of the files that `file_ids` returned."""
    with write_errors(path):
        written = file_ids([path, part_path(path)])
    if written & sources:
        raise UsageError(f"{path}: would be written over a file that frames are read from; give another name or folder")


def _temporary_path(path: Path) -> Path:
    # Random, as another process may be writing the same file; `.part` comes last, so that "*.engine" does not match.
    return path.with_name(f"{hidden_prefix(path)}{secrets.token_hex(6)}.part")


def _remove_file(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
