"""What the capture process and its parent send each other: lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

# From the parent: the first line is the specification, then {"open": true} and {"free": offset}.
# To the parent, each line one of these, with its value.
STARTED = "started"  # libraries are loaded, the source is being opened
OPENED = "opened"  # {"description"}
# {"offset", "height", "width", "captured_ns", "media_ns", "clock", "sample", "checksum", "damaged", "busy", "overdue"};
# the last three are counts since the process began.
FRAME = "frame"
LOST = "lost"  # the reason; the source is being closed
CLOSED = "closed"  # after LOST: it may be opened again
ENDED = "ended"  # the source gave its last frame; "overdue" as above
FAILED = "failed"  # [class of the error, message]: opening again does not help

MAX_LINE = 1 << 16


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message).encode() + b"\n"


class Lines:
    """Messages out of bytes as they arrive."""

    def __init__(self) -> None:
        """Start with no bytes."""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        """Return the messages that are complete, each as its kind and value.

        Raises:
            ValueError: a line is none.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise ValueError(f"a line of more than {MAX_LINE} bytes")
        for line in lines:
            message = json.loads(line)
            if not isinstance(message, dict) or len(message) != 1:
                raise ValueError(f"no message: {line[:40]!r}")
            yield from message.items()
