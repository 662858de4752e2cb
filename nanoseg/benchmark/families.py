"""The fitted constants of estimates, and how wrong they are for each family of networks, by fit_estimate.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from nanoseg.benchmark.layer_time import Constants

FILE = Path(__file__).with_name("estimate.json")
WORST_ERROR = 0.35  # a family with a larger mean error is not estimated
UNKNOWN = "other"  # a network of no family that latencies are published of

# The families whose published latencies are the nearest to a network's, by the beginning of its architecture's name.
NEAREST = {
    "yolo_nas_pose": ("yolo-nas-pose",),
    "yolo_nas": ("yolo-nas", "yolo-nas-pose"),
    "yolo": ("yolo11", "yolo26"),
    "nanosam": ("nanosam",),
    "mobile_sam": ("mobilesam",),
    "sam_mask_decoder": ("nanosam", "mobilesam"),  # its time is in that of their whole pipelines
}


@dataclass(frozen=True)
class Family:
    """Errors of estimates of one family's published latencies, by constants that were fitted without it."""

    points: int
    mean_error: float  # of |estimated / published - 1|
    worst_error: float


@dataclass(frozen=True)
class Fit:
    """What benchmarks/fit_estimate.py has found."""

    constants: Constants
    families: Mapping[str, Family]
    mean_error: float  # of all families, each counted once
    boards: Sequence[str]  # with published latencies


@dataclass(frozen=True)
class Band:
    """How far an estimate may be off."""

    family: str  # the names of the families that say so
    error: float  # their mean error; the larger, where they are several
    worst: float

    @property
    def is_too_wide(self) -> bool:
        """Whether no estimate is to be printed."""
        return self.error > WORST_ERROR


@cache
def read_fit() -> Fit:
    """Return the constants and errors that come with the package."""
    return msgspec.json.decode(FILE.read_bytes(), type=Fit)


def band_of(architecture: str, fit: Fit) -> Band:
    """Return the error band of a network: of its family, or of all families together where it has none."""
    for prefix, names in NEAREST.items():
        if architecture.startswith(prefix):
            families = [fit.families[name] for name in names]
            return Band(
                " and ".join(names),
                max(each.mean_error for each in families),
                max(each.worst_error for each in families),
            )
    return Band(UNKNOWN, fit.mean_error, max(each.worst_error for each in fit.families.values()))
