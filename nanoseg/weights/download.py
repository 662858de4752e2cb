"""Download one file over HTTP, and resume where an earlier try ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from nanoseg.errors import SourceError
from nanoseg.weights.http import (
    CONNECTION_ERRORS,
    OTHER_ADDRESS,
    RetryableError,
    check_url,
    content_length,
    content_range,
    open_url,
    reason_of,
    version_of,
)
from nanoseg.weights.partial_file import Origin, PartialFile

BLOCK = 1 << 18
MAX_WAIT_S = 30.0
OnProgress = Callable[[int, int | None], None]  # bytes received, bytes in all or None


@dataclass(frozen=True)
class Retries:
    """Timeout and number of tries of a download."""

    timeout_s: float = 30.0  # without a byte
    tries: int = 4  # in a row that bring no new bytes
    wait: Callable[[float], None] = time.sleep  # seconds between two tries


DEFAULT_RETRIES = Retries()


def ignore_progress(received: int, total: int | None) -> None:
    """Do nothing: the default callback."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download, with its size and whether its hash is known."""

    url: str
    size: int | None = None  # bytes
    hashed: bool = False  # the caller checks its hash, so a mixture of two versions is noticed

    def can_resume(self, origin: Origin | None) -> bool:
        """Whether further bytes may be appended to those of this origin: only where versions can be distinguished."""
        return origin is not None and bool(self.hashed or origin.validator)

    def is_same_version(self, origin: Origin, etag: str | None, modified: str | None) -> bool:
        """Whether a partial response is of the version in `origin`, by its ETag and Last-Modified.

        Not every server honours If-Range. Where there is nothing to compare, the hash decides, if there is one.
        """
        if origin.etag and etag and (origin.etag != etag or etag == origin.validator):
            return origin.etag == etag
        if origin.modified and modified:
            return origin.modified == modified
        return self.hashed


def download(
    wanted: RemoteFile,
    part: PartialFile,
    progress: OnProgress = ignore_progress,
    retries: Retries = DEFAULT_RETRIES,
) -> None:
    """Complete a partial file; its hash is for the caller to check.

    Args:
        wanted: The file to download.
        part: The open partial file, which may hold the bytes of an earlier run.
        progress: Called after each block.
        retries: Timeout and number of tries.

    Raises:
        SourceError: The network or the server fails; the bytes are kept where another run can resume.
        UsageError: The URL is not valid, or the disk is full.
    """
    url = wanted.url
    check_url(url)
    if part.read_origin(url) is None:
        part.clear()
    furthest, failures = len(part), 0
    while True:
        try:
            return _try_once(wanted, part, progress, retries.timeout_s)
        except RetryableError as error:
            received = len(part)
            failures = 0 if received > furthest else failures + 1
            furthest = max(furthest, received)
            if error.restart or not wanted.can_resume(part.read_origin(url)):
                part.clear()
            if failures >= retries.tries:
                kept = "the received bytes are kept: run again to resume, or " if len(part) else ""
                raise SourceError(f"{url}: {error}; {kept}{OTHER_ADDRESS}") from error
            retries.wait(min(2.0**failures, MAX_WAIT_S))


def _try_once(wanted: RemoteFile, part: PartialFile, progress: OnProgress, timeout_s: float) -> None:
    url, size = wanted.url, wanted.size
    received, origin = len(part), part.read_origin(url)
    if origin and received and received == origin.total:
        return  # complete, but not yet put in place
    ranged = {"Range": f"bytes={received}-"} if received and wanted.can_resume(origin) else {}
    if ranged and origin and origin.validator:
        ranged["If-Range"] = origin.validator
    with open_url(url, ranged, timeout_s) as response:
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start, total = content_range(response.headers)
            same = origin and start == received and wanted.is_same_version(origin, *version_of(response.headers))
            if not origin or not same or (origin.total and total and origin.total != total):
                raise RetryableError("the file may have changed while it was fetched", restart=True)
            total = total or origin.total
        else:  # the complete file: as requested, or it changed, or the server supports no ranges
            part.clear()
            received, total = 0, content_length(response.headers)
            origin = Origin(url, total, *version_of(response.headers))
        if total is None and size is None and not response.chunked:
            reason = "neither the server nor its publisher states the length of the file"
            raise SourceError(f"{url}: {reason}; {OTHER_ADDRESS}")
        if total is not None and size is not None and total != size:
            reason = f"wanted {size:,} bytes, the server has {total:,}"
            raise SourceError(f"{url}: {reason}: not the published file; {OTHER_ADDRESS}")
        length = total or size
        part.check_space((length or 0) - received)
        part.write_origin(origin)
        while length is None or received < length:
            try:
                # Returns what has arrived, not a full block, so that a broken connection loses no byte.
                block = response.read1(BLOCK if length is None else min(BLOCK, length - received))
            except CONNECTION_ERRORS as error:
                raise RetryableError(f"broke off at {_of(received, length)}: {reason_of(error)}") from error
            if not block:
                break
            part.write(block)
            received += len(block)
            progress(received, length)
    if length is not None and received < length:
        raise RetryableError(f"broke off at {_of(received, length)}")


def _of(received: int, length: int | None) -> str:
    return f"{received:,} bytes" if length is None else f"{received:,} of {length:,} bytes"
