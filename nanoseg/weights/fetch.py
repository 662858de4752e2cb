"""Fetch and verify weights that others publish.

A file is put in place once its length, its kind and its checksum are right. Where no checksum is published the sha256
of the first download is recorded beside it, and later downloads must have the same.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from nanoseg.errors import SourceError, UsageError
from nanoseg.utils.files import write_atomic, write_errors
from nanoseg.utils.read_file import read_text
from nanoseg.weights.check import check_weights
from nanoseg.weights.download import DEFAULT_RETRIES, OnProgress, RemoteFile, Retries, download, ignore_progress
from nanoseg.weights.partial_file import open_partial_file
from nanoseg.weights.published import Weights


class ChangedFileError(SourceError):
    """A complete file of the right kind whose sha256 is not the recorded one."""


def fetch(
    weights: Weights,
    folder: Path,
    *,
    url: str | None = None,
    forget_hash: bool = False,
    progress: OnProgress = ignore_progress,
    retries: Retries = DEFAULT_RETRIES,
) -> Path:
    """Fetch a file of weights into a folder, unless it is there already.

    Args:
        weights: The published file.
        folder: Folder to write to; made where it is missing.
        url: Another address of the same file; by default its publisher's.
        forget_hash: Discard the recorded sha256 of the first download, and fetch and replace the file.
        progress: Called with the bytes received and the bytes in all, None where that is not known.
        retries: Timeout and number of tries.

    Returns:
        The path of the verified file.

    Raises:
        SourceError: The network fails, or the file is not the one that was published or seen before.
        UsageError: The folder cannot be written, or an option does not apply to these weights.
    """
    target = folder / weights.file
    if forget_hash:
        _refuse_published(weights, "--forget-hash")
    seen = None if forget_hash else _read_hash(target) or weights.seen_sha256
    if not forget_hash and _exists(target):
        try:
            digest = _check(target, weights, seen)
        except SourceError as error:
            trust = "where you trust it: --trust-file, else " if isinstance(error, ChangedFileError) else ""
            raise SourceError(f"{error}; it lies at {target}: {trust}move it away and run again") from error
        _record_hash(target, weights, digest)
        return target
    try:
        with open_partial_file(target) as part:
            hashed = bool(weights.sha256 or weights.md5 or seen)
            download(RemoteFile(url or weights.url, weights.bytes, hashed), part, progress, retries)
            try:
                digest = _check(part.path, weights, seen)
            except ChangedFileError as error:
                part.clear()
                raise SourceError(f"{error}; where you trust the new one: --forget-hash") from error
            except SourceError:
                part.clear()
                raise
            _record_hash(target, weights, digest, replace=forget_hash)
            part.finish()
    except SourceError as error:
        copies = "".join(f"; others keep a copy: --url {mirror}" for mirror in weights.mirrors if mirror != url)
        raise SourceError(f"{error}{copies}") from error
    return target


def trust(weights: Weights, folder: Path) -> Path:
    """Accept the file in `folder` from now on, whatever sha256 was recorded before, and return its path.

    Raises:
        UsageError: There is no such file, or its checksum is published.
        SourceError: The file is of another kind.
    """
    target = folder / weights.file
    _refuse_published(weights, "--trust-file")
    if not _exists(target):
        raise UsageError(f"--trust-file: {target}: no such file; put yours there, or fetch it without the flag")
    _record_hash(target, weights, _check(target, weights, None), replace=True)
    return target


def _refuse_published(weights: Weights, flag: str) -> None:
    if weights.sha256 or weights.md5:
        raise UsageError(f"{flag}: the checksum of {weights.name} is published, not kept from a first download")


def _exists(target: Path) -> bool:
    try:
        found = target.exists()
        if found and not target.is_file():
            raise UsageError(f"{target}: wanted a file or nothing there, got a folder; give another --out")
    except OSError as error:
        raise UsageError(f"{target}: cannot be read: {error.strerror}; give another --out") from error
    return found


def _check(path: Path, weights: Weights, seen: str | None) -> str:
    """Return the file's sha256; raises SourceError unless it is the published file, or the one seen before."""
    size = path.stat().st_size
    if weights.bytes not in (None, size):
        raise SourceError(f"{weights.file}: wanted {weights.bytes:,} bytes, got {size:,}")
    check_weights(path, weights.file)
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    for kind, wanted, got in (("sha256", weights.sha256, sha256.hexdigest()), ("md5", weights.md5, md5.hexdigest())):
        if wanted not in (None, got):
            raise SourceError(f"{weights.file}: wanted {kind} {wanted}, as published, got {got}")
    got = sha256.hexdigest()
    if seen not in (None, got):
        raise ChangedFileError(f"{weights.file}: wanted sha256 {seen}, as it was seen before, got {got}")
    return got


def _read_hash(target: Path) -> str | None:
    """Return the recorded sha256 of the first download, None where there is none."""
    path = _hash_file(target)
    try:
        text = read_text(path)
    except UsageError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        text = ""
    if not re.match(r"[0-9a-f]{64}\b", text):
        raise UsageError(f"{path}: wanted a sha256, got something else; remove it and run again")
    return text[:64]


def _record_hash(target: Path, weights: Weights, digest: str, replace: bool = False) -> None:
    path = _hash_file(target)
    if weights.sha256 or weights.md5 or (path.exists() and not replace):
        return
    with write_errors(path, "give another --out"):
        write_atomic(path, f"{digest}  {target.name}\n".encode("ascii"))


def _hash_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")
