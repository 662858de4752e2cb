"""Settings of the pipeline on a GPU that a machine may need, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from nanoseg.backends.cuda.driver import WAITS
from nanoseg.errors import UsageError

GRAPHS, WAIT = "NANOSEG_CUDA_GRAPHS", "NANOSEG_CUDA_WAIT"
_ON_OFF = ("on", "off")


class Settings(NamedTuple):
    """How work is given to the GPU, and waited for."""

    graphs: bool = True  # captured as CUDA graphs, where that is possible
    wait: str = "auto"  # one of WAITS

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read $NANOSEG_CUDA_GRAPHS, on or off, and $NANOSEG_CUDA_WAIT; raises UsageError for another value."""
        return cls(_choice(environment, GRAPHS, _ON_OFF) == "on", _choice(environment, WAIT, WAITS))


def _choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return the value of a variable, by default the first choice."""
    value = environment.get(name) or choices[0]
    if value not in choices:
        raise UsageError(f"{name}: wanted {', '.join(choices[:-1])} or {choices[-1]}, got {value}")
    return value
