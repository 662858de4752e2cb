"""Where the swap of a bundle stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal[
    "idle",  # there was none
    "loading",
    "shadow",  # it runs on live frames beside the running one
    "ready",  # for the next frame
    "watching",  # it runs; the one before is put back where it fails
    "swapped",
    "undone",  # the one before runs again, as it was asked for
    "refused",
    "reverted",  # the one before runs again, as the new one failed
    "cancelled",  # it was called off, or the service has ended
]
BUSY = ("loading", "shadow", "ready", "watching")
OUTCOMES = ("swapped", "undone", "refused", "reverted", "cancelled")


@dataclass(frozen=True)
class SwapState:
    """Where the latest swap stands; shown on the page and by `nanoseg service swap`."""

    number: int = 0  # of the swap, from 1
    state: State = "idle"
    bundle: str = ""  # that is to run
    reason: str = ""  # why it was refused, reverted or cancelled
    figures: Mapping[str, Any] = field(default_factory=dict)  # frames, frames_wanted, agreement, latency, memory_mb

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        return (
            f"bundle {self.bundle}: {': '.join(filter(None, (self.state, self.reason)))}{figures and f' ({figures})'}"
        )

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        head = {"number": self.number, "state": self.state, "bundle": self.bundle, "reason": self.reason}
        return {**head, **self.figures}
