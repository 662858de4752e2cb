"""One thing that is missing or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]  # cannot run at all; runs worse than it could; good to know


@dataclass(frozen=True)
class Finding:
    """What is missing, what that costs, and what mends it: a command line wherever one does."""

    key: str  # stable, for machines: "opencv.shadowed"
    level: Level
    what: str
    costs: str
    mend: str
