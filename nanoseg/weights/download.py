"""One file over HTTP, going on where an earlier try broke off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from nanoseg.errors import SourceError
from nanoseg.weights.http import (
    ELSEWHERE,
    LINE_ERRORS,
    BrokenError,
    ask,
    check_address,
    content_length,
    content_range,
    version,
    why,
)
from nanoseg.weights.partial_file import Origin, Part

BLOCK = 1 << 18
LONGEST_WAIT_S = 30.0
Progress = Callable[[int, int | None], None]  # bytes that are here, bytes of the whole where they are known


@dataclass(frozen=True)
class Line:
    """How patient to be."""

    timeout_s: float = 30.0  # without a byte
    tries: int = 4  # in a row that bring nothing new
    wait: Callable[[float], None] = time.sleep  # seconds between two tries


PATIENT = Line()


def no_progress(have: int, whole: int | None) -> None:
    """For those who do not care."""


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is fetched."""

    url: str
    size: int | None = None  # bytes
    hashed: bool = False  # the caller knows its hash, so that a mixture of two versions will be noticed

    def goes_on(self, origin: Origin | None) -> bool:
        """Whether what follows can be appended to bytes of this origin: only where versions can be told apart."""
        return origin is not None and bool(self.hashed or origin.validator)

    def is_of(self, origin: Origin, etag: str | None, modified: str | None) -> bool:
        """Whether a partial answer is of the version that `origin` notes, by its own ETag and Last-Modified.

        Not every server heeds If-Range. Where there is nothing to compare, the hash will tell if there is one.
        """
        if origin.etag and etag and (origin.etag != etag or etag == origin.validator):
            return origin.etag == etag
        if origin.modified and modified:
            return origin.modified == modified
        return self.hashed


def download(wanted: Wanted, part: Part, progress: Progress = no_progress, line: Line = PATIENT) -> None:
    """Bring `part` to the whole of what is `wanted`.

    Whether the bytes are the right ones is for the caller to say. Raises SourceError for what the network or the
    server does, and then keeps what came if another run can go on with it, UsageError for an address or a disk that
    will not do.
    """
    url = wanted.url
    check_address(url)
    if part.origin(url) is None:
        part.empty()
    furthest, fruitless = len(part), 0
    while True:
        try:
            return _one_try(wanted, part, progress, line.timeout_s)
        except BrokenError as reason:
            have = len(part)
            fruitless = 0 if have > furthest else fruitless + 1
            furthest = max(furthest, have)
            if reason.anew or not wanted.goes_on(part.origin(url)):
                part.empty()
            if fruitless >= line.tries:
                todo = f"what came is kept: run again to go on, or {ELSEWHERE}" if len(part) else ELSEWHERE
                raise SourceError(f"{url}: {reason}; {todo}") from reason
            line.wait(min(2.0**fruitless, LONGEST_WAIT_S))


def _one_try(wanted: Wanted, part: Part, progress: Progress, timeout_s: float) -> None:
    url, size = wanted.url, wanted.size
    have, origin = len(part), part.origin(url)
    if origin and have and have == origin.total:
        return  # it was only never put in its place
    ranged = {"Range": f"bytes={have}-"} if have and wanted.goes_on(origin) else {}
    if ranged and origin and origin.validator:
        ranged["If-Range"] = origin.validator
    with ask(url, ranged, timeout_s) as response:
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start, total = content_range(response.headers)
            same = origin and start == have and wanted.is_of(origin, *version(response.headers))
            if not origin or not same or (origin.total and total and origin.total != total):
                raise BrokenError("the file may have changed while it was fetched", anew=True)
            total = total or origin.total
        else:  # all of it, because that was asked for, or the file changed, or the server knows no ranges
            part.empty()
            have, total = 0, content_length(response.headers)
            origin = Origin(url, total, *version(response.headers))
        if total is None and size is None and not response.chunked:
            told = "neither the server nor its publisher tells how long the file is"
            raise SourceError(f"{url}: {told}; {ELSEWHERE}")
        if total is not None and size is not None and total != size:
            told = f"wanted {size:,} bytes, the server has {total:,}"
            raise SourceError(f"{url}: {told}: not the published file; {ELSEWHERE}")
        whole = total or size
        part.check_room((whole or 0) - have)
        part.remember(origin)
        while whole is None or have < whole:
            try:
                # What is there, and not a whole block, so that a break costs nothing that has arrived.
                block = response.read1(BLOCK if whole is None else min(BLOCK, whole - have))
            except LINE_ERRORS as error:
                raise BrokenError(f"broke off at {_of(have, whole)}: {why(error)}") from error
            if not block:
                break
            part.write(block)
            have += len(block)
            progress(have, whole)
    if whole is not None and have < whole:
        raise BrokenError(f"broke off at {_of(have, whole)}")


def _of(have: int, whole: int | None) -> str:
    return f"{have:,} bytes" if whole is None else f"{have:,} of {whole:,} bytes"
