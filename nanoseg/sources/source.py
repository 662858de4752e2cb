"""What every source gives: frames, how many, and how fast they were taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nanoseg.errors import SourceError
from nanoseg.types import Frame

# 100 megapixels decode to 300 MB: more than any camera gives, far less than a bomb asks for.
MAX_PIXELS = 100_000_000

OnProblem = Callable[[SourceError], None]


@dataclass(frozen=True, eq=False)
class Source:
    """Frames of one place, to be read once, from first to last.

    Iterating raises SourceError where nothing can be read any more; what a folder or glob can do without
    is told to `on_problem` of `open_source` instead.
    """

    frames: Iterable[Frame]
    count: int | None  # how many there are, as far as the source knows; None: it cannot tell, or there is no end
    fps: float | None  # how fast they were taken; None: separate pictures
    paths: tuple[Path, ...] = ()  # the files they are read from, which nothing may be written over

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)
