"""Several files as one source, as a shell gives them where it expands a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanoseg.errors import UsageError
from nanoseg.sources.images import open_images
from nanoseg.sources.open import open_source
from nanoseg.sources.source import NotAVideo, OnError, Source


def open_sources(sources: Sequence[str], *, max_pixels: int, on_error: OnError) -> Source:
    """Open one source of any kind, or the pictures of several files, folders and globs, each once.

    Args:
        sources: as `open_source` takes them; none is live.
        max_pixels: the largest frame that is decoded.
        on_error: called for each picture that cannot be read and is skipped.

    Raises:
        SourceError: there is nothing to read.
        UsageError: one of several is a video or parts://, which has frames without end.
    """
    if len(sources) == 1:
        return open_source(sources[0], max_pixels=max_pixels, on_error=on_error)
    paths: dict[Path, Path] = {}  # by what they are whatever their spelling
    left_out = 0
    for text in sources:
        try:
            source = open_source(text, max_pixels=max_pixels, on_error=on_error)
        except NotAVideo as error:
            on_error(error)
            continue
        source.close()
        if source.fps is not None:
            raise UsageError(
                f"{text}: of several sources each wants to be a picture or a folder of them; give a video alone, or "
                "add --live to read all at their own pace"
            )
        left_out += source.left_out
        paths.update({path.absolute(): path for path in source.paths if path.absolute() not in paths})
    if not paths:
        raise UsageError(f"none of {len(sources)} sources is a picture")
    return open_images(list(paths.values()), max_pixels, on_error, left_out)
