"""What a run that was killed left under its temporary name: the next run does not write over it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from nanoseg.utils.files import file_ids, part_path, write_errors
from nanoseg.utils.locks import HeldError, try_lock
from nanoseg.utils.output_path import follow_links


def keep_earlier_part(path: Path, sources: Iterable[Path] = ()) -> str:
    """Rename `door.part.mp4` of an earlier run to `door-20261129T051800Z.part.mp4`, by its last change in UTC.

    Args:
        path: the output, `door.mp4`.
        sources: files that frames are read from, and which stay.

    Returns:
        A line that tells it, "" where there is nothing to keep, or another run is still writing it.

    Raises:
        UsageError: it cannot be renamed.
    """
    with write_errors(path):
        output, part = follow_links(path), part_path(path)
        if output.direct or not part.is_file() or file_ids([part]) & file_ids(sources):
            return ""
        try:
            lock = try_lock(part)
        except HeldError:
            return ""
        try:
            status = os.fstat(lock)
            if not status.st_size:
                return ""
            kept = part_path(timed_path(output.path, status.st_mtime))
            os.rename(part, kept)
        finally:
            os.close(lock)
    return f"{part}: an earlier run was cut off; what it left is kept as {kept.name}"


def timed_path(path: Path, at_s: float) -> Path:
    """Return `door-20261129T051800Z.mp4` for `door.mp4`, with a number where that exists, also as a part."""
    at = datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    timed, number = path.with_name(f"{path.stem}-{at}{path.suffix}"), 1
    while part_path(timed).exists() or timed.exists():  # in this order, as one may just be renamed to the other
        number += 1
        timed = path.with_name(f"{path.stem}-{at}-{number}{path.suffix}")
    return timed
