"""Which files of a folder or glob are images: each once, and a word about what is left out."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import shlex
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from nanoseg.errors import SourceError, os_reason
from nanoseg.sources.image_headers import image_format
from nanoseg.utils.read_file import open_file
from nanoseg.utils.terminal import plural

READ_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
_LOG = logging.getLogger("nanoseg")
_WILDCARDS = re.compile(r"[*?\[]")
_SNIFFED_BYTES = 64


@dataclass
class ImageFiles:
    """The images of a folder or glob, and how many other files it has."""

    paths: list[Path] = field(default_factory=list)
    left_out: int = 0


def list_images(folder: Path) -> ImageFiles:
    """Return the images of a folder by name, without those of subfolders; what is left out is logged in one line.

    A file is an image by its suffix, or else by its content. Hidden files are not looked at.

    Raises:
        SourceError: there are none.
    """
    try:
        with os.scandir(folder) as entries:
            paths = [folder / entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {os_reason(error)}") from error
    files, reasons = _choose(paths)
    if not files.paths:
        pattern = shlex.quote(f"{escape(str(folder))}/**/*")
        others = f" but {', '.join(reasons)}" if reasons else ""
        raise SourceError(
            f"{folder}: no pictures in this folder{others}; for those of the folders inside it give {pattern}"
        )
    _log_left_out(folder, reasons)
    return files


def glob_images(pattern: str) -> ImageFiles:
    """Return the images that a glob matches, each once, in order; what is left out is logged in one line.

    `**` stands for any number of folders, symbolic links to folders are followed, and hidden names are only matched by
    patterns that begin with a dot, as in glob.glob(recursive=True). A part of the pattern that is itself the name of
    something is taken as that name, which may have brackets.

    Raises:
        SourceError: there are none.
    """
    try:
        matches = [path for path in _expand(pattern) if not os.path.isdir(path)]
    except OSError as error:
        raise SourceError(f"{pattern}: cannot be read: {os_reason(error)}") from error
    if not matches:
        raise SourceError(f"{pattern}: no file has such a name")
    files, reasons = _choose(matches)
    if not files.paths:
        raise SourceError(f"{pattern}: matches no picture but {', '.join(reasons)}; a video is given by its own name")
    _log_left_out(pattern, reasons)
    return files


def _choose(paths: Iterable[Path]) -> tuple[ImageFiles, list[str]]:
    """Return the images among files, sorted, and words for the others: `2 .mp4`, `1 folder`."""
    files, others, folders, links = ImageFiles(), Counter[str](), 0, 0
    chosen = []
    for path in sorted(paths):
        if os.path.isdir(path):
            folders += 1
        elif path.suffix.lower() in READ_SUFFIXES or _has_image(path):
            chosen.append(path)
        else:
            others[path.suffix.lower() or "without a suffix"] += 1
    files.paths = _without_second_names(chosen)
    links = len(chosen) - len(files.paths)
    files.left_out = others.total()
    reasons = [f"{count} {suffix}" for suffix, count in others.most_common(5)]
    if (rest := others.total() - sum(count for _, count in others.most_common(5))) > 0:
        reasons.append(f"{rest} of other kinds")
    reasons += [plural(folders, "folder")] * (folders > 0)
    if links:
        reasons.append(f"{plural(links, 'link')} to files that are read by their own names")
    return files, reasons


def _has_image(path: Path) -> bool:
    try:
        with open_file(path, SourceError) as file:
            return image_format(file.read(_SNIFFED_BYTES)) is not None
    except SourceError:
        return False


def _without_second_names(paths: list[Path]) -> list[Path]:
    """Leave out symbolic links to files that are there under their own names, or were linked before."""
    if not any(os.path.islink(path) for path in paths):
        return paths
    ids = {path: _file_id(path) for path in paths}
    seen = {ids[path] for path in paths if not os.path.islink(path)}
    kept = []
    for path in paths:
        if os.path.islink(path) and ids[path] is not None:
            if ids[path] in seen:
                continue
            seen.add(ids[path])
        kept.append(path)
    return kept


def _log_left_out(source: object, reasons: list[str]) -> None:
    if reasons:
        _LOG.warning("%s: left out what is no picture: %s", source, ", ".join(reasons))


def _expand(pattern: str) -> Iterator[Path]:
    """Yield what a glob matches; a folder is searched once for each part of the pattern, however many links lead to it.

    So loops of links end, and folders that are linked to each other do not multiply.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    todo = deque([(Path("/") if pattern.startswith("/") else Path(), 0)])
    seen: set[tuple[tuple[int, int] | None, int]] = set()
    yielded: set[Path] = set()
    while todo:
        folder, index = todo.popleft()
        key = (_file_id(folder), index)
        if key in seen:
            continue
        seen.add(key)
        part, is_last = parts[index], index == len(parts) - 1
        if part == "**":
            if not is_last:
                todo.append((folder, index + 1))
            for name, is_folder in _entries(folder):
                if not name.startswith("."):
                    if is_folder:
                        todo.append((folder / name, index))
                    elif is_last:
                        yield folder / name
            continue
        for name, is_folder in _matches(folder, part):
            path = folder / name
            if is_last and path not in yielded:
                yielded.add(path)
                yield path
            elif not is_last and is_folder:
                todo.append((path, index + 1))


def _matches(folder: Path, part: str) -> list[tuple[str, bool]]:
    if not _WILDCARDS.search(part) or os.path.lexists(folder / part):
        return [(part, os.path.isdir(folder / part))] if os.path.lexists(folder / part) else []
    matches = re.compile(fnmatch.translate(part)).match
    hidden = part.startswith(".")
    return [(name, is_dir) for name, is_dir in _entries(folder) if matches(name) and (hidden or name[0] != ".")]


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder and whether each is a folder, links last; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            listed = [(entry.is_symlink(), entry.name, _is_folder(entry)) for entry in entries]
    except OSError:
        return []
    return [(name, is_folder) for _, name, is_folder in sorted(listed)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_IFMT(status.st_mode) else None
