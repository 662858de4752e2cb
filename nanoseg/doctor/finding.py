"""A finding: one thing that is missing or wrong on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]  # nothing can run; runs worse than it could; good to know


@dataclass(frozen=True)
class Finding:
    """A problem, its effect and its fix; the names are those of `nanoseg doctor --json`."""

    key: str  # stable, for scripts: "opencv.shadowed"
    level: Level
    problem: str
    effect: str
    fix: str  # a command line wherever possible
