"""What was estimated of the stages that were measured, where the machine is one of the boards that estimates know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nanoseg.benchmark.estimate import estimate_bundle
from nanoseg.bundle import Bundle
from nanoseg.errors import NanosegError

# Module of the device tree -> key of BOARDS; "-super" where it was flashed with JetPack 6.2's higher clocks.
_MODULES = {
    "p3767-0000": "orin-nx",
    "p3767-0003": "orin-nano",
    "p3767-0005": "orin-nano",  # of the developer kit
    "p3701-0000": "agx-orin",  # of the developer kit: 32 GB, with the larger GPU
    "p3701-0004": "agx-orin-32",
    "p3701-0005": "agx-orin",
    "p3834-0008": "thor",
}
_SUPER = ("orin-nano", "orin-nx")


def board_key(environment: Mapping[str, Any]) -> str | None:
    """Return the key of BOARDS of the machine that `read_environment` saw; None where it is none of them."""
    key = _MODULES.get(environment.get("module") or "")
    return f"{key}-super" if key in _SUPER and environment.get("super") else key


def estimated_stages(
    bundle: Bundle, environment: Mapping[str, Any], counts: Iterable[int]
) -> dict[int, dict[str, float]]:
    """Return the estimated milliseconds of stages by number of objects: of this board in its fastest power mode.

    Empty where the machine is no board that estimates know, a library for them is missing, or a graph is one that they
    cannot count: what was measured is not lost for that. Stages of families whose estimates are too wrong to be told
    are left out.
    """
    key = board_key(environment)
    if key is None:
        return {}
    try:
        stages = {count: estimate_bundle(bundle, key, count).stage_ms() for count in counts}
    except NanosegError:
        return {}
    return {
        count: {name: round(ms, 3) for name, ms in found.items() if ms is not None} for count, found in stages.items()
    }
