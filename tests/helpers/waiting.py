"""Wait for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 20.0  # for what must come; a busy machine is slow


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
